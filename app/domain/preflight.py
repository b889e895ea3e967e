"""Which sampled candidates are worth a person's time, and how they are grouped to be compared.

Empty, cut-off and looping answers are dropped, and of answers that read the same one is kept.
Drawing replacements is left to the run that samples.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from app.domain.plan import Preflight

LONGEST_LOOP_WORDS = 12
_WORD = re.compile(r"\w+|[^\w\s]")


class Problem(StrEnum):
    """Why a candidate is not shown."""

    EMPTY = "empty"
    CUT_OFF = "cut off"
    LOOPING = "looping"
    IDENTICAL = "identical"
    NEAR_IDENTICAL = "near-identical"


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate before anybody has seen it."""

    text: str
    is_finished: bool


@dataclass(frozen=True, slots=True)
class Sorted:
    """The drafts to show, by index in order, and what is wrong with the others."""

    kept: tuple[int, ...]
    dropped: Mapping[int, Problem]


def sort(drafts: Sequence[Draft], rules: Preflight) -> Sorted:
    """Keep each draft that has no problem and does not read like one kept before it."""
    kept: list[int] = []
    dropped: dict[int, Problem] = {}
    for index, draft in enumerate(drafts):
        found = problem(draft, rules)
        if found is None:
            found = _repeats(draft.text, [drafts[one].text for one in kept], rules)
        if found is None:
            kept.append(index)
        else:
            dropped[index] = found
    return Sorted(tuple(kept), dropped)


def problem(draft: Draft, rules: Preflight) -> Problem | None:
    """Return what is wrong with a draft by itself."""
    if not draft.text.strip():
        return Problem.EMPTY
    if not rules.is_on:
        return None
    if rules.drop_cut_off and not draft.is_finished:
        return Problem.CUT_OFF
    return Problem.LOOPING if is_looping(draft.text, rules.loop_repeats) else None


def is_looping(text: str, repeats: int) -> bool:
    """Whether some run of words comes `repeats` times in a row; punctuation alone is no loop."""
    words = _words(text)
    for length in range(1, min(LONGEST_LOOP_WORDS, len(words) // repeats) + 1):
        matches = 0  # how many words in a row equal the one `length` before
        for at in range(length, len(words)):
            same = words[at] == words[at - length]
            matches = matches + 1 if same else 0
            if matches >= length * (repeats - 1) and any(
                word.isalnum() for word in words[at - length + 1 : at + 1]
            ):
                return True
    return False


def likeness(first: str, second: str) -> float:
    """Return the share of neighbouring word pairs that two texts have in common (Dice)."""
    one, other = _pairs(first), _pairs(second)
    total = one.total() + other.total()
    if not total:
        return float(_words(first) == _words(second))
    return 2 * (one & other).total() / total


def groups(count: int, k: int, comparisons: int, seed: str) -> list[tuple[int, ...]]:
    """Put `count` candidates into different comparisons of k, each taking part about as often.

    Fewer groups come back where there are not that many different ones.
    """
    if count < k:
        return []
    chance = random.Random(seed)
    used = Counter(dict.fromkeys(range(count), 0))
    found: dict[frozenset[int], tuple[int, ...]] = {}
    tries = 0
    while len(found) < comparisons and tries < 20 * comparisons:
        tries += 1
        order = sorted(range(count), key=lambda index: (used[index], chance.random()))
        group = order[:k] if frozenset(order[:k]) not in found else chance.sample(range(count), k)
        if frozenset(group) not in found:
            found[frozenset(group)] = tuple(sorted(group))
            used.update(group)
    return list(found.values())


def _repeats(text: str, before: Sequence[str], rules: Preflight) -> Problem | None:
    words = _words(text)
    if any(words == _words(other) for other in before):
        return Problem.IDENTICAL
    if not rules.is_on or rules.near_identical >= 1.0:
        return None
    is_near = any(likeness(text, other) >= rules.near_identical for other in before)
    return Problem.NEAR_IDENTICAL if is_near else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _pairs(text: str) -> Counter[tuple[str, str]]:
    words = _words(text)
    return Counter(pairwise(words))
