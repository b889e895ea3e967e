"""Finds the traits of any text as an answer to a question at the demo library's desk.

It looks for the facts and phrases of the grammar sentence by sentence, so that a model's own
recombinations, broken text and empty text can be read too. Judging the traits is left to `taste`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from app.demo import grammar
from app.demo.library import TOPICS, Topic

_KIND = re.compile(r"thank|welcome|glad to|happy to|look forward|lovely|enjoy your|good question")
_CURT = re.compile(
    r"everyone asks|read the sign|should know|we are busy|do not ask|that is all|move along"
)
_EVASIVE = re.compile(
    r"hard to say|it depends|not sure|rules change|for yourself|somebody else"
    r"|not really my|your luck|cannot say"
)
_OFFER = re.compile(r"\bi can\b|\bi will\b|\blet me\b|\bshall i\b|would you like me to")
_SENTENCE = re.compile(r"[^.!?]+[.!?]?")
_WORD = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a question asks about."""

    topic: Topic
    item: str

    @property
    def right(self) -> str:
        """The correct value."""
        return self.topic.facts[self.item]


@dataclass(frozen=True, slots=True)
class Traits:
    """The traits of an answer; counts are of sentences unless the name says otherwise."""

    says_right: bool
    says_wrong: bool
    beside: int
    offers: int
    evasions: int
    kindnesses: int
    curtness: int
    padding: int
    words: int
    repeated_words: int
    unknown_share: float
    is_cut: bool
    is_empty: bool


@lru_cache(maxsize=65536)
def find_inquiry(prompt: str) -> Inquiry | None:
    """Return what a question asks about: the last item that it names, or None if it names none."""
    last: tuple[int, Inquiry] | None = None
    text = prompt.lower()
    for item, topic in _ITEMS.items():
        position = text.rfind(item.lower())
        if position >= 0 and (last is None or position > last[0]):
            last = (position, Inquiry(topic, item))
    return last[1] if last else None


def read(prompt: str, answer: str) -> Traits:
    """Return the traits of an answer to a question."""
    inquiry = find_inquiry(prompt)
    text = answer.strip().lower()
    parts = [part.strip() for part in _SENTENCE.findall(text) if _WORD.search(part)]
    counts = dict.fromkeys(("offer", "evasive", "kind", "curt", "padding"), 0)
    claims: set[tuple[str, str, str]] = set()
    for part in parts:
        claims_of_part = set(_claims(part, inquiry))
        claims |= claims_of_part
        kind = _kind_of(part)
        if kind != "padding" or not claims_of_part:
            counts[kind] += 1
    right = (inquiry.topic.name, inquiry.item, inquiry.right) if inquiry else None
    about = {claim for claim in claims if right and claim[:2] == right[:2]}
    words = _WORD.findall(text)
    return Traits(
        says_right=right in about,
        says_wrong=bool(about - {right}),
        beside=len(claims - about),
        offers=counts["offer"],
        evasions=counts["evasive"],
        kindnesses=counts["kind"],
        curtness=counts["curt"],
        padding=counts["padding"],
        words=len(words),
        repeated_words=_repeated(words),
        unknown_share=_unknown_share(parts),
        is_cut=bool(words) and text[-1] not in ".!?",
        is_empty=not words,
    )


def _claims(part: str, inquiry: Inquiry | None) -> Iterator[tuple[str, str, str]]:
    """Yield (topic, item, value) for every value that a sentence names.

    A value belongs to the items of its own topic in the sentence. If the sentence names no item at
    all, the value belongs to the item asked about, as a reader would understand it.
    """
    items = [(item, topic) for item, topic in _ITEMS.items() if item.lower() in part]
    for value, topic in _VALUES:
        if value not in part:
            continue
        named = [item for item, owner in items if owner is topic]
        if named:
            yield from ((topic.name, item, value) for item in named)
        elif inquiry is not None and topic is inquiry.topic and not items:
            yield topic.name, inquiry.item, value
        else:
            yield topic.name, "", value


def _kind_of(part: str) -> str:
    for kind, cues in (("evasive", _EVASIVE), ("curt", _CURT), ("offer", _OFFER), ("kind", _KIND)):
        if cues.search(part):
            return kind
    return "padding"


def _repeated(words: list[str]) -> int:
    """Count the words that end a repeated sequence of four words."""
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return len(runs) - len(set(runs))


def _unknown_share(parts: list[str]) -> float:
    """Return the share of adjacent word pairs that occur in no sentence of the grammar."""
    pairs = [pair for part in parts for pair in _adjacent_words(part)]
    return sum(pair not in _KNOWN for pair in pairs) / len(pairs) if pairs else 0.0


def _adjacent_words(part: str) -> Iterator[tuple[str, str]]:
    words = ["", *_WORD.findall(part.lower()), ""]
    return pairwise(words)


_ITEMS = {item: topic for topic in TOPICS for item in topic.facts}
_VALUES = tuple((value, topic) for topic in TOPICS for value in topic.values)
_KNOWN = frozenset(pair for sentence in grammar.sentences() for pair in _adjacent_words(sentence))
