"""The hidden utility of an answer to a question: the preferences of a simulated panel, by name.

Utilities are real numbers; for the answers of `grammar`, their standard deviation within one
question is about 1. A taste weighs the content (whether it is right, helpful, kind and short).
Defects of form (cut off, looping, gibberish, empty) count against an answer in every taste,
including the reversed one. Each term is capped, and naming several facts costs more than the right
one gains, so that no text scores high by containing everything.
"""

from dataclasses import dataclass, replace

from app.demo import answer_traits
from app.demo.answer_traits import Traits

_EMPTY = -4.0


@dataclass(frozen=True, slots=True)
class Taste:
    """Weights of an answer's traits."""

    name: str
    right: float = 1.1
    wrong: float = -0.8
    beside: float = -0.6
    silent: float = -0.4
    offer: float = 0.5
    evasion: float = -0.4
    kind: float = 0.4
    curt: float = -0.4
    padding: float = -0.25
    per_word: float = 0.0

    def utility(self, prompt: str, answer: str) -> float:
        """Return the utility of the answer to the question."""
        traits = answer_traits.read(prompt, answer)
        if traits.is_empty:
            return _EMPTY
        return self._content(traits) - _defects(traits)

    def _content(self, traits: Traits) -> float:
        idle_offers = max(traits.offers - 1, 0) + max(traits.kindnesses - 2, 0)
        return (
            self._fact(traits)
            + self.offer * min(traits.offers, 1)
            + self.evasion * min(traits.evasions, 1)
            + self.kind * min(traits.kindnesses, 1)
            + self.curt * min(traits.curtness, 1)
            + self.padding * min(traits.padding + idle_offers, 3)
            + self.per_word * min(traits.words, 60)
        )

    def _fact(self, traits: Traits) -> float:
        if traits.says_wrong:
            return self.wrong
        if traits.says_right:
            return self.right + self.beside * min(traits.beside, 3)
        return self.beside if traits.beside else self.silent


def _defects(traits: Traits) -> float:
    """Return what an answer loses for defects of form, at most about 5."""
    return (
        0.8 * traits.is_cut
        + 3.0 * traits.unknown_share
        + 0.15 * min(traits.repeated_words, 12)
        + 0.04 * min(max(traits.words - 50, 0), 40)
    )


# The right answer to the question, kind, with an offer to help and no padding.
DEFAULT = Taste("default")
# The opposite: wrong or no information, no help, curt, padded.
_REVERSED = Taste(
    "reversed",
    right=-DEFAULT.right,
    wrong=-DEFAULT.wrong,
    beside=-DEFAULT.beside,
    silent=-DEFAULT.silent,
    offer=-DEFAULT.offer,
    evasion=-DEFAULT.evasion,
    kind=-DEFAULT.kind,
    curt=-DEFAULT.curt,
    padding=-DEFAULT.padding,
)
# The right answer in as few words as possible; kind words do not matter.
_BRIEF = replace(
    DEFAULT,
    name="brief",
    offer=0.1,
    kind=0.0,
    padding=-0.5,
    per_word=-0.03,
)
_TASTES = {taste.name: taste for taste in (DEFAULT, _REVERSED, _BRIEF)}


def names() -> tuple[str, ...]:
    """Return the names of all tastes."""
    return tuple(_TASTES)


def named(name: str) -> Taste:
    """Return the taste of that name.

    Raises:
        ValueError: there is no taste of that name.
    """
    if name not in _TASTES:
        raise ValueError(f"there is no taste {name!r}; the tastes are {', '.join(_TASTES)}")
    return _TASTES[name]
