"""The verdict on labelers: enough of them, and nothing unusual in anyone's work.

What is unusual is decided by the remarks on each labeler, at levels corrected for the size of the
team; here they only become one finding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.page_verdicts.verdict import (
    Advice,
    Count,
    Figure,
    Insight,
    PageVerdict,
    Tone,
)


@dataclass(frozen=True, slots=True)
class LabelerHabits:
    """One labeler's work as far as it bears on the verdict.

    Attributes:
        labeler: pseudonym.
        judgments: made, practice left out.
        gold: gold comparisons judged.
        is_away: whether they get no new comparisons: they are paused, or imported.
        remarks: on what is unusual, each a predicate such as "takes 1 s for a judgment".
    """

    labeler: str
    judgments: int
    gold: int = 0
    is_away: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelersEvidence:
    """Everyone who has judged, those who can judge, and the judgments wanted of a comparison."""

    labelers: tuple[LabelerHabits, ...]
    active: int
    overlap: int
    tested_from: int  # judgments


def of(evidence: LabelersEvidence) -> PageVerdict:
    """Return the verdict on a project's labelers."""
    unusual = unusual_of(evidence.labelers)
    if unusual is not None:
        return unusual
    figures: dict[str, Figure]
    if evidence.active < evidence.overlap:
        figures = {
            "active": Count(evidence.active, "active labeler"),
            "overlap": Count(evidence.overlap, "judgment"),
        }
        return PageVerdict(Insight.TOO_FEW_LABELERS, Tone.CHECK, Advice.INVITE, figures)
    if not any(one.judgments for one in evidence.labelers):
        return PageVerdict(Insight.NOTHING_JUDGED, Tone.EARLY, Advice.LABEL, {"where": ""})
    tested = sum(one.judgments >= evidence.tested_from for one in evidence.labelers)
    if not tested:
        least = {"least": evidence.tested_from}
        return PageVerdict(Insight.LABELERS_UNTESTED, Tone.EARLY, Advice.LABEL, least)
    figures = {"tested": Count(tested, "labeler"), "least": evidence.tested_from}
    return PageVerdict(Insight.LABELERS_USUAL, Tone.GOOD, figures=figures)


def unusual_of(labelers: Sequence[LabelerHabits]) -> PageVerdict | None:
    """Return a verdict on the labeler with the most remarks; None if there are no remarks.

    Whoever still judges comes first.
    """
    unusual = [one for one in labelers if one.remarks]
    if not unusual:
        return None
    worst = max(unusual, key=lambda one: (not one.is_away, len(one.remarks)))
    return PageVerdict(
        Insight.LABELERS_UNUSUAL,
        Tone.CHECK,
        advice_on(worst),
        {
            "labeler": worst.labeler,
            "remarks": joined(worst.remarks),
            "more": Count(len(unusual) - 1, "more labeler"),
        },
    )


def advice_on(labeler: LabelerHabits) -> Advice:
    """Return what to do about a labeler: gold would tell more where nobody has tried it."""
    if labeler.is_away:
        return Advice.WEIGH
    return Advice.TALK if labeler.gold else Advice.TALK_OR_GOLD


def joined(remarks: Sequence[str]) -> str:
    """Join predicates of one subject, which may have commas themselves: "a, b, and c"."""
    return ", and ".join(filter(None, (", ".join(remarks[:-1]), remarks[-1])))
