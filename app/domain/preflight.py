"""The pre-flight check of sampled candidates, and their grouping into comparisons.

Empty, cut-off and looping candidates are dropped, and of candidates that read the same only one is
kept. Sampling replacements is left to the job that generates.
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


class Defect(StrEnum):
    """Why a candidate is dropped."""

    EMPTY = "empty"
    CUT_OFF = "cut off"
    LOOPING = "looping"
    IDENTICAL = "identical"
    NEAR_IDENTICAL = "near-identical"


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate before the check; `earlier` are its responses to turns before the last."""

    text: str
    is_finished: bool
    earlier: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        """All that the candidate says."""
        return "\n\n".join([*self.earlier, self.text])


@dataclass(frozen=True, slots=True)
class Sorted:
    """The indices of the drafts to show, in order, and the defects of the others."""

    kept: tuple[int, ...]
    dropped: Mapping[int, Defect]


def sort(drafts: Sequence[Draft], rules: Preflight) -> Sorted:
    """Keep each draft that has no defect and does not repeat one kept before it."""
    kept: list[int] = []
    dropped: dict[int, Defect] = {}
    for index, draft in enumerate(drafts):
        reason = defect(draft, rules) or _repetition(
            draft.whole, [drafts[earlier].whole for earlier in kept], rules
        )
        if reason is None:
            kept.append(index)
        else:
            dropped[index] = reason
    return Sorted(tuple(kept), dropped)


def defect(draft: Draft, rules: Preflight) -> Defect | None:
    """Return the defect of a draft on its own."""
    texts = [*draft.earlier, draft.text]
    if not all(text.strip() for text in texts):
        return Defect.EMPTY
    if not rules.is_on:
        return None
    if rules.drop_cut_off and not draft.is_finished:
        return Defect.CUT_OFF
    is_loop = any(is_looping(text, rules.loop_repeats) for text in texts)
    return Defect.LOOPING if is_loop else None


def is_looping(text: str, repeats: int) -> bool:
    """Whether some run of words occurs `repeats` times in a row; punctuation alone is no loop."""
    words = _words(text)
    for length in range(1, min(LONGEST_LOOP_WORDS, len(words) // repeats) + 1):
        matches = 0  # how many words in a row equal the one `length` words before
        for index in range(length, len(words)):
            same = words[index] == words[index - length]
            matches = matches + 1 if same else 0
            if matches >= length * (repeats - 1) and any(
                word.isalnum() for word in words[index - length + 1 : index + 1]
            ):
                return True
    return False


def likeness(first: str, second: str) -> float:
    """Return the share of adjacent word pairs that two texts have in common (Dice)."""
    first_pairs, second_pairs = _pairs(first), _pairs(second)
    total = first_pairs.total() + second_pairs.total()
    if not total:
        return float(_words(first) == _words(second))
    return 2 * (first_pairs & second_pairs).total() / total


def groups(count: int, k: int, comparisons: int, seed: str) -> list[tuple[int, ...]]:
    """Arrange `count` candidates in different comparisons of k, each used about equally often.

    Returns fewer groups if there are not that many different ones.
    """
    if count < k:
        return []
    rng = random.Random(seed)
    used = Counter(dict.fromkeys(range(count), 0))
    distinct: dict[frozenset[int], tuple[int, ...]] = {}
    tries = 0
    while len(distinct) < comparisons and tries < 20 * comparisons:
        tries += 1
        order = sorted(range(count), key=lambda index: (used[index], rng.random()))
        group = order[:k] if frozenset(order[:k]) not in distinct else rng.sample(range(count), k)
        if frozenset(group) not in distinct:
            distinct[frozenset(group)] = tuple(sorted(group))
            used.update(group)
    return list(distinct.values())


def _repetition(text: str, kept: Sequence[str], rules: Preflight) -> Defect | None:
    words = _words(text)
    if any(words == _words(other) for other in kept):
        return Defect.IDENTICAL
    if not rules.is_on or rules.near_identical >= 1.0:
        return None
    is_near = any(likeness(text, other) >= rules.near_identical for other in kept)
    return Defect.NEAR_IDENTICAL if is_near else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _pairs(text: str) -> Counter[tuple[str, str]]:
    words = _words(text)
    return Counter(pairwise(words))
