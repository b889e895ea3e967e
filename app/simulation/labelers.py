"""Labelers with a known hidden utility: how one judges a comparison.

A labeler perceives each completion at its utility, plus biases, plus noise, and judges accordingly.
Utility and biases are in the same unit. The average behavior of a panel is in `expected`; fetching
and submitting work over HTTP is up to `runner`.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from app.domain.judgment_kinds import KINDS, JudgmentKind

Utility = Callable[[str, str], float]
Knows = Callable[[str], str | None]

# Gaps in perceived utility from which a preference is called slight, clear and strong.
STRENGTH_FROM = (0.4, 1.0, 1.8)
# Perceived utilities that earn the lowest and the highest point of a rating scale.
RATED = (-2.0, 2.0)


@dataclass(frozen=True, slots=True)
class ShownCompletion:
    """A completion on screen; its key does not depend on the order shown."""

    key: int
    text: str


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """A comparison as a labeler sees it: the completions in the order shown, and the rules."""

    comparison: str
    prompt: str
    shown: tuple[ShownCompletion, ...]
    kind: JudgmentKind
    allows_ties: bool = False
    allows_both_bad: bool = False
    asks_strength: bool = False
    criteria: tuple[str, ...] = ()
    points: int = 5


@dataclass(frozen=True, slots=True)
class SimulatedJudgment:
    """A judgment or a skip, in keys of completions, never in positions on screen.

    `groups` orders all completions from best to worst, tied ones together, for pick and rank;
    `ratings` are by completion and criterion. A skip has a reason and nothing else.
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
        """The key of the single best completion, or None if the best are tied."""
        return self.groups[0][0] if self.groups and len(self.groups[0]) == 1 else None


@dataclass(frozen=True, slots=True)
class SimulatedLabeler:
    """One labeler; its judgments are determined by its seed, its name and the comparison.

    Args:
        name: distinguishes labelers of the same seed.
        utility: of (prompt, completion): what this labeler values.
        flip_rate: how often a stated order of two is the opposite of the one perceived, 0 to 1.
        position_bias: added to the perceived utility of the completion shown first.
        length_bias: added to the perceived utility for every ten words.
        tie_band: perceived gaps below this are called ties, where ties are allowed.
        skip_rate: how often the labeler skips.
        temperature: scale of the logistic noise on a difference; 0 is none.
        seconds_per_judgment: mean time a judgment takes.
        seed: seed of the noise and the flips.
        bad_below: two completions both perceived below this are both bad, where that is allowed.
        knows: of (prompt): the best response that this labeler can write, or None. It is written,
            or given as an edit if it is worth more than the completion shown.
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
        """Return the utility perceived before noise, independent of the position."""
        return self.utility(prompt, text) + self.length_bias * len(text.split()) / 10

    def judge(self, view: ComparisonView) -> SimulatedJudgment:
        """Judge one comparison.

        Raises:
            ValueError: the comparison shows a completion twice, or too few or many for its kind.
        """
        _check(view)
        rng = random.Random(f"{self.seed}/{self.name}/{view.comparison}")
        active_s = self.seconds_per_judgment * math.exp(rng.gauss(-0.125, 0.5))
        if rng.random() < self.skip_rate:
            return SimulatedJudgment(skip_reason="cannot decide", active_s=active_s)
        kind = KINDS[view.kind]
        if kind.is_written:
            return self._write(view, active_s)
        if kind.uses_criteria:
            return SimulatedJudgment(ratings=self._rate(view, rng), active_s=active_s)
        perceived = self._perceive(view, rng)
        if kind.is_ordering:
            return self._order(view, perceived, rng, active_s)
        up = perceived[view.shown[0].key] > 0
        return SimulatedJudgment(thumb_up=up ^ (rng.random() < self.flip_rate), active_s=active_s)

    def _order(
        self,
        view: ComparisonView,
        perceived: Mapping[int, float],
        rng: random.Random,
        active_s: float,
    ) -> SimulatedJudgment:
        groups = _grouped(perceived, self.tie_band if view.allows_ties else 0.0, rng)
        groups = _lapse(groups, self.flip_rate, rng)
        gap = max(perceived.values()) - min(perceived.values())
        is_pick = view.kind is JudgmentKind.PICK
        return SimulatedJudgment(
            groups=groups,
            strength=_strength(gap) if view.asks_strength and len(groups) == 2 else None,
            both_bad=(
                is_pick and view.allows_both_bad and max(perceived.values()) < self.bad_below
            ),
            active_s=active_s,
        )

    def _write(self, view: ComparisonView, active_s: float) -> SimulatedJudgment:
        text = self.knows(view.prompt) if self.knows else None
        if text is None:
            return SimulatedJudgment(skip_reason="knows nothing better", active_s=active_s)
        for one in view.shown:
            if self.valued(view.prompt, text) <= self.valued(view.prompt, one.text):
                return SimulatedJudgment(skip_reason="it is good as it is", active_s=active_s)
        return SimulatedJudgment(text=text, active_s=active_s)

    def _perceive(self, view: ComparisonView, rng: random.Random) -> dict[int, float]:
        """Return the perceived utilities; their noise does not depend on the order shown."""
        first = view.shown[0].key
        return {
            one.key: self.valued(view.prompt, one.text)
            + self.position_bias * (one.key == first and len(view.shown) > 1)
            + self.temperature * _gumbel(rng)
            for one in sorted(view.shown, key=lambda one: one.key)
        }

    def _rate(self, view: ComparisonView, rng: random.Random) -> dict[tuple[int, str], int]:
        low, high = RATED
        ratings = {}
        for criterion in view.criteria:
            for key, seen in self._perceive(view, rng).items():
                share = min(max((seen - low) / (high - low), 0.0), 1.0)
                points = 1 + round(share * (view.points - 1))
                is_flipped = rng.random() < self.flip_rate
                ratings[key, criterion] = view.points + 1 - points if is_flipped else points
        return ratings


def panel(labeler: SimulatedLabeler, size: int) -> list[SimulatedLabeler]:
    """Return labelers that differ only in a number appended to their names."""
    return [replace(labeler, name=f"{labeler.name}-{n}") for n in range(1, size + 1)]


def _check(view: ComparisonView) -> None:
    keys = [one.key for one in view.shown]
    if len(set(keys)) != len(keys):
        raise ValueError(f"comparison {view.comparison} shows a completion twice: {keys}")
    fewest, most = KINDS[view.kind].fewest, KINDS[view.kind].most
    if not fewest <= len(keys) <= most:
        raise ValueError(
            f"a {view.kind} shows {fewest} to {most} completions,"
            f" comparison {view.comparison} shows {len(keys)}"
        )


def _gumbel(rng: random.Random) -> float:
    """Draw standard Gumbel noise: the difference of two draws is standard logistic."""
    return -math.log(-math.log(max(rng.random(), 1e-300)))


def _grouped(
    perceived: Mapping[int, float], tie_band: float, rng: random.Random
) -> tuple[tuple[int, ...], ...]:
    """Order best first; a completion joins the group above if it is within the band of its best.

    If ties are not allowed, completions that are perceived as equal are ordered at random.
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
    """Reverse every strict pair of the order with probability `flip_rate`, keeping it an order.

    A random order reverses half of the pairs, so one is drawn with probability 2 x flip_rate; above
    one half, the order is reversed first.
    """
    roll, shuffled = rng.random(), rng.sample(groups, len(groups))
    if flip_rate > 0.5:
        return tuple(shuffled) if roll < 2 * (1 - flip_rate) else groups[::-1]
    return tuple(shuffled) if roll < 2 * flip_rate else groups


def _strength(gap: float) -> int:
    return 1 + sum(gap >= least for least in STRENGTH_FROM)
