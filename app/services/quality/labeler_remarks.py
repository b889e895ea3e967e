"""Remarks on a labeler's work: sentences on what a lead should check.

Each test is at a strict level that is corrected for the number of labelers, so that hardly any
honest labeler of a large team gets one by chance. Remarks never pause a labeler or change the
weight of a judgment.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import jackknife
from app.domain.krippendorff import Indices
from app.domain.labeler_standing import LabelerStanding, remark_level
from app.domain.measures import LEVEL, Interval, Measure, share

MIN_JUDGMENTS = 30  # a labeler with fewer gets no remarks
MIN_GOLD_ACCURACY = 0.8
MIN_SELF_CONSISTENCY = 0.75


@dataclass(frozen=True, slots=True)
class Trials:
    """Zeros and ones, each with its prompt: what a share is computed from."""

    values: NDArray[np.bool_]
    prompts: Indices
    nothing: str  # the reason if there are none

    @classmethod
    def of(cls, trials: Iterable[tuple[bool, int]], nothing: str) -> "Trials":
        """Collect trials, each given with its prompt."""
        pairs = list(trials)
        return cls(
            np.array([value for value, _ in pairs], dtype=bool),
            np.array([prompt for _, prompt in pairs], dtype=np.int64),
            nothing,
        )

    def measure(self, level: float = LEVEL) -> Measure:
        """Measure the share with an interval clustered by prompt."""
        clusters = np.unique(self.prompts, return_inverse=True)[1].astype(np.int64)
        return jackknife.share(
            self.values.astype(float), clusters, nothing=self.nothing, level=level
        )

    def measure_independent(self, level: float) -> Measure:
        """Measure the share of trials that are independent, such as of a random order."""
        return share(int(self.values.sum()), len(self.values), self.nothing, level)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the remarks on one labeler are decided by."""

    judgments: int
    labelers: int  # whose work is tested
    first_place: Trials
    first_place_expected: float | None
    gold: Trials
    same_again: Trials
    longer: Trials
    longer_by_others: Measure
    standing: LabelerStanding | None
    is_contrary: bool  # in ratings or thumbs
    haste: str = ""  # how much faster than others they are; empty if they are not


def of(evidence: Evidence) -> tuple[str, ...]:
    """Return the remarks on a labeler; none below thirty judgments."""
    return tuple(_remarks(evidence)) if evidence.judgments >= MIN_JUDGMENTS else ()


def _remarks(evidence: Evidence) -> Iterable[str]:
    level = remark_level(evidence.labelers)
    if evidence.standing is not None:
        yield from _standing(evidence.standing)
    if evidence.is_contrary:
        yield "rates high what the others rate low, more often than chance would"
    if evidence.haste:
        yield evidence.haste
    # The order shown is random for each judgment, so prompts play no part in this test.
    first = evidence.first_place.measure_independent(level)
    shown = _share(evidence.first_place.measure())
    expected = evidence.first_place_expected
    chance = "" if expected is None else f" of the time, where chance gives {100 * expected:.0f} %"
    if _is_above(first, expected):
        yield f"chooses the response shown first {shown}{chance}"
    if _is_below(first, expected):
        yield f"chooses the response shown first only {shown}{chance}"
    if _is_below(evidence.gold.measure(level), MIN_GOLD_ACCURACY):
        yield f"is right on {_share(evidence.gold.measure())} of gold comparisons"
    if _is_below(evidence.same_again.measure(level), MIN_SELF_CONSISTENCY):
        again = _share(evidence.same_again.measure())
        yield f"gives the same judgment on {again} of repeated comparisons"
    others = evidence.longer_by_others.interval
    if isinstance(others, Interval) and _is_above(evidence.longer.measure(level), others.high):
        longer, by_others = _share(evidence.longer.measure()), _share(evidence.longer_by_others)
        yield f"chooses the longer response {longer} of the time, others {by_others}"


def _standing(standing: LabelerStanding) -> Iterable[str]:
    agreed = _share(standing.with_others)
    if standing.is_below_chance:
        doubt = "; with two labelers, either may be the contrary one"
        text = f"chooses as the others do {agreed} of the time, less often than chance"
        yield text + (doubt if standing.labelers == 2 else "")
    elif standing.is_far_below_others:
        others = _share(standing.others)
        yield f"chooses as the others do {agreed} of the time, while they agree {others}"


def _is_above(measure: Measure, level: float | None) -> bool:
    interval = measure.interval
    return level is not None and isinstance(interval, Interval) and interval.low > level


def _is_below(measure: Measure, level: float | None) -> bool:
    interval = measure.interval
    return level is not None and isinstance(interval, Interval) and interval.high < level


def _share(measure: Measure) -> str:
    value = measure.value if isinstance(measure.value, float) else 0.0
    text = f"{100 * value:.0f} %"
    interval = measure.interval
    if isinstance(interval, Interval):
        text += f" [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
    return text
