"""Held-out prompts drawn at random, with responses before and after training.

What changed is named by the traits that `answer_traits` reads, so that a person need not know the
library's facts. The draw depends on the seed and on nothing that is measured.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from app.demo import answer_traits
from app.demo.answer_traits import Traits
from app.demo.truth import PolicyCompletions, Utility

SHOWN = 3
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with the responses of two models and their true utilities."""

    prompt: str
    before: str
    after: str
    utility_before: float
    utility_after: float

    @property
    def changes(self) -> tuple[str, ...]:
        """What changed in the response, by its traits; empty if none of them did."""
        traits = (answer_traits.read(self.prompt, text) for text in (self.before, self.after))
        return tuple(_changes(*traits))

    def lines(self) -> Iterator[Text]:
        """Yield the example for the terminal: sentences of only one response are marked."""
        yield _line("Prompt", [(self.prompt, "bold")])
        yield _line("Before", _marked(self.before, self.after, "red"))
        yield _line("After", _marked(self.after, self.before, "green"))
        yield _line("Change", [(self._verdict, "")])

    @property
    def _verdict(self) -> str:
        utility = f"true utility {self.utility_before:+.2f} → {self.utility_after:+.2f}"
        if self.before.strip() == self.after.strip():
            return f"none; {utility}"
        return "; ".join([*(self.changes or ("other words",)), utility])


@dataclass(frozen=True, slots=True)
class Examples:
    """Prompts drawn at random out of `total`, and the two models that responded."""

    drawn: tuple[Example, ...]
    total: int
    before: str  # a model
    after: str

    @property
    def title(self) -> str:
        """How the prompts were chosen, and whose responses they have."""
        return (
            f"{len(self.drawn)} of {self.total} held-out prompts, at random: "
            f"before {self.before}, after {self.after}"
        )


def draw(
    rows: Sequence[PolicyCompletions], utility: Utility, seed: int, *, before: str, after: str
) -> Examples:
    """Draw prompts with a fixed seed, and value both responses to each."""
    chosen = random.Random(f"examples {seed}").sample(range(len(rows)), min(SHOWN, len(rows)))
    drawn = tuple(
        Example(
            row.prompt,
            row.old,
            row.new,
            utility(row.prompt, row.old),
            utility(row.prompt, row.new),
        )
        for row in (rows[at] for at in chosen)
    )
    return Examples(drawn, len(rows), before, after)


def _changes(old: Traits, new: Traits) -> Iterator[str]:
    if _fact(old) != _fact(new):
        yield f"{_fact(old)} → {_fact(new)}"
    for name, was, now in (
        ("an offer to help", old.offers, new.offers),
        ("a kind word", old.kindnesses, new.kindnesses),
        ("a curt remark", old.curtness, new.curtness),
        ("an evasion", old.evasions, new.evasions),
        ("something beside the point", old.beside + old.padding, new.beside + new.padding),
        ("cut off", old.is_cut, new.is_cut),
    ):
        if bool(was) != bool(now):
            yield f"{'now' if now else 'no longer'} {name}"


def _fact(traits: Traits) -> str:
    if traits.is_empty:
        return "no response"
    if traits.says_wrong:
        return "wrong information"
    return "right information" if traits.says_right else "no information"


def _marked(text: str, other: str, style: str) -> list[tuple[str, str]]:
    """Return the sentences of a text, with a style for those that the other does not have."""
    if not text.strip():
        return [("(empty)", style)]
    known = set(_sentences(other))
    return [(f"{part} ", "" if part in known else style) for part in _sentences(text)]


def _sentences(text: str) -> list[str]:
    return _SENTENCE_END.split(text.strip())


def _line(label: str, parts: Sequence[tuple[str, str]]) -> Text:
    return Text.assemble((f"{label:<6}  ", "dim"), *parts)
