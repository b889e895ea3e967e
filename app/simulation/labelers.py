"""Labelers with a known hidden utility: what one would answer to a comparison, and nothing else.

A labeler sees each completion at its utility, plus its biases, plus noise, and answers accordingly.
Utility and biases are in the same unit. What a panel of them does on average is in `expected`; how
they fetch work and hand it in over HTTP is the runner's business.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.domain.answers import K_RANGE

Utility = Callable[[str, str], float]
Knows = Callable[[str], str | None]

# Gaps in perceived utility from which a preference is called slight, clear and strong.
STRENGTH_FROM = (0.4, 1.0, 1.8)
# Perceived utilities that earn the lowest and the highest point of a rating scale.
RATED = (-2.0, 2.0)


class Kind(StrEnum):
    """What a comparison asks for."""

    PICK = "pick"
    RANK = "rank"
    RATE = "rate"
    THUMBS = "thumbs"
    WRITE = "write"
    EDIT = "edit"


@dataclass(frozen=True, slots=True)
class Shown:
    """A completion on screen; the key names it whatever the order shown."""

    key: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """One comparison as a labeler meets it: completions in the order shown, and the rules."""

    comparison: str
    prompt: str
    shown: tuple[Shown, ...]
    kind: Kind
    allows_ties: bool = False
    allows_both_bad: bool = False
    asks_strength: bool = False
    criteria: tuple[str, ...] = ()
    points: int = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What a labeler said, in keys of completions, never in positions on screen.

    `groups` orders all completions from best to worst, ties together, for pick and rank; `ratings`
    go by completion and criterion. A skip has a reason and nothing else.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    strength: int | None = None
    both_bad: bool = False
    ratings: Mapping[tuple[int, str], int] = field(default_factory=dict)
    thumb_up: bool | None = None
    text: str | None = None
    skip_reason: str | None = None
    active_s: float = 0.0

    @property
    def preferred(self) -> int | None:
        """Return the key of the single best completion, or None if the best are tied."""
        return self.groups[0][0] if self.groups and len(self.groups[0]) == 1 else None


@dataclass(frozen=True, slots=True)
class SimulatedLabeler:
    """One labeler. Everything it answers follows from its seed, its name and the comparison.

    Args:
        name: tells labelers of one seed apart.
        utility: of (prompt, completion): what this labeler really wants.
        flip_rate: how often a stated order of two is the opposite of the one perceived, 0 to 1.
        position_bias: what being shown first adds to the perceived utility.
        length_bias: what every ten words add to the perceived utility.
        tie_band: perceived gaps below this are called ties, where ties are allowed.
        skip_rate: how often the labeler skips.
        temperature: scale of the logistic noise on a difference; 0 is none.
        seconds_per_judgment: mean time a judgment takes.
        seed: of all of the above.
        bad_below: two completions both perceived below this are both bad, where that is allowed.
        knows: the best answer to a prompt that this labeler could write, if it knows any; who
            writes gives it, and who edits gives it where it is worth more than what is shown.
    """

    name: str
    utility: Utility
    flip_rate: float = 0.0
    position_bias: float = 0.0
    length_bias: float = 0.0
    tie_band: float = 0.0
    skip_rate: float = 0.0
    temperature: float = 0.0
    seconds_per_judgment: float = 8.0
    seed: int = 0
    bad_below: float = -1.5
    knows: Knows | None = None

    def __post_init__(self) -> None:
        """Refuse rates that are not shares and sizes below zero."""
        for rate in ("flip_rate", "skip_rate"):
            if not 0.0 <= getattr(self, rate) <= 1.0:
                raise ValueError(f"{rate} is a share from 0 to 1, not {getattr(self, rate)}")
        for size in ("tie_band", "temperature", "seconds_per_judgment"):
            if not getattr(self, size) >= 0.0:
                raise ValueError(f"{size} cannot be below 0, it is {getattr(self, size)}")

    def valued(self, prompt: str, text: str) -> float:
        """Return the utility perceived before noise and wherever it is shown."""
        return self.utility(prompt, text) + self.length_bias * len(text.split()) / 10

    def judge(self, question: Question) -> Answer:
        """Answer one comparison.

        Raises:
            ValueError: the comparison shows a completion twice, or too few or many for its kind.
        """
        _check(question)
        rng = random.Random(f"{self.seed}/{self.name}/{question.comparison}")
        active_s = self.seconds_per_judgment * math.exp(rng.gauss(-0.125, 0.5))
        if rng.random() < self.skip_rate:
            return Answer(skip_reason="cannot decide", active_s=active_s)
        if question.kind in (Kind.WRITE, Kind.EDIT):
            return self._write(question, active_s)
        if question.kind is Kind.RATE:
            return Answer(ratings=self._rate(question, rng), active_s=active_s)
        perceived = self._perceive(question, rng)
        if question.kind is Kind.THUMBS:
            up = perceived[question.shown[0].key] > 0
            return Answer(thumb_up=up ^ (rng.random() < self.flip_rate), active_s=active_s)
        return self._order(question, perceived, rng, active_s)

    def _order(
        self,
        question: Question,
        perceived: Mapping[int, float],
        rng: random.Random,
        active_s: float,
    ) -> Answer:
        groups = _grouped(perceived, self.tie_band if question.allows_ties else 0.0, rng)
        groups = _lapse(groups, self.flip_rate, rng)
        gap = max(perceived.values()) - min(perceived.values())
        is_pick = question.kind is Kind.PICK
        return Answer(
            groups=groups,
            strength=_strength(gap) if question.asks_strength and len(groups) == 2 else None,
            both_bad=(
                is_pick and question.allows_both_bad and max(perceived.values()) < self.bad_below
            ),
            active_s=active_s,
        )

    def _write(self, question: Question, active_s: float) -> Answer:
        text = self.knows(question.prompt) if self.knows else None
        if text is None:
            return Answer(skip_reason="knows nothing better", active_s=active_s)
        for one in question.shown:
            if self.valued(question.prompt, text) <= self.valued(question.prompt, one.text):
                return Answer(skip_reason="it is good as it is", active_s=active_s)
        return Answer(text=text, active_s=active_s)

    def _perceive(self, question: Question, rng: random.Random) -> dict[int, float]:
        """Return what each completion seems worth; the noise does not depend on the order shown."""
        first = question.shown[0].key
        return {
            one.key: self.valued(question.prompt, one.text)
            + self.position_bias * (one.key == first and len(question.shown) > 1)
            + self.temperature * _gumbel(rng)
            for one in sorted(question.shown, key=lambda one: one.key)
        }

    def _rate(self, question: Question, rng: random.Random) -> dict[tuple[int, str], int]:
        low, high = RATED
        ratings = {}
        for criterion in question.criteria:
            for key, seen in self._perceive(question, rng).items():
                share = min(max((seen - low) / (high - low), 0.0), 1.0)
                points = 1 + round(share * (question.points - 1))
                is_flipped = rng.random() < self.flip_rate
                ratings[key, criterion] = question.points + 1 - points if is_flipped else points
        return ratings


def panel(one: SimulatedLabeler, size: int) -> list[SimulatedLabeler]:
    """Return labelers who differ from the one given in nothing but a number in their names."""
    return [replace(one, name=f"{one.name}-{n}") for n in range(1, size + 1)]


def _check(question: Question) -> None:
    keys = [one.key for one in question.shown]
    if len(set(keys)) != len(keys):
        raise ValueError(f"comparison {question.comparison} shows a completion twice: {keys}")
    least, most = K_RANGE[question.kind]
    if not least <= len(keys) <= most:
        raise ValueError(
            f"a {question.kind} shows {least} to {most} completions,"
            f" comparison {question.comparison} shows {len(keys)}"
        )


def _gumbel(rng: random.Random) -> float:
    """Draw standard Gumbel noise: the difference of two draws is standard logistic."""
    return -math.log(-math.log(max(rng.random(), 1e-300)))


def _grouped(
    perceived: Mapping[int, float], tie_band: float, rng: random.Random
) -> tuple[tuple[int, ...], ...]:
    """Order best first; a completion joins the group above if it is within the band of its best.

    Completions perceived as exactly equal, where ties are not allowed, are ordered by chance.
    """
    groups: list[list[int]] = []
    keys = rng.sample(sorted(perceived), len(perceived))
    for key in sorted(keys, key=lambda key: -perceived[key]):
        if groups and perceived[groups[-1][0]] - perceived[key] < tie_band:
            groups[-1].append(key)
        else:
            groups.append([key])
    return tuple(tuple(sorted(group)) for group in groups)


def _lapse(
    groups: tuple[tuple[int, ...], ...], flip_rate: float, rng: random.Random
) -> tuple[tuple[int, ...], ...]:
    """Turn every strict pair of the order round with probability `flip_rate`, keeping it an order.

    An order drawn at random turns half of the pairs round, so drawing one with probability
    2 x flip_rate does it; above one half the order is reversed first.
    """
    roll, shuffled = rng.random(), rng.sample(groups, len(groups))
    if flip_rate > 0.5:
        return tuple(shuffled) if roll < 2 * (1 - flip_rate) else groups[::-1]
    return tuple(shuffled) if roll < 2 * flip_rate else groups


def _strength(gap: float) -> int:
    return 1 + sum(gap >= least for least in STRENGTH_FROM)
