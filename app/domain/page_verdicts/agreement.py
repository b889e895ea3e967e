"""The verdict on agreement: not enough yet, less than expected, or as trained labelers agree.

Raw agreement on preferences is compared with what trained labelers reach on real preference data
(63 to 77 %); ratings and thumbs with the alpha that corresponds to it. Only an interval entirely
below is "less": a wide one is said to be unclear. An interval of alpha that reaches 0 is chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain import signs
from app.domain.measures import Interval, Measure
from app.domain.page_verdicts.labelers import LabelerHabits, unusual_of
from app.domain.page_verdicts.verdict import (
    Advice,
    Count,
    Figure,
    Insight,
    PageVerdict,
    Tone,
)

EXPECTED_LOW, EXPECTED_HIGH = 0.63, 0.77
ALPHA_EXPECTED = 0.3
SHARED_LEAST = 30
"""Comparisons with two judgments, or responses with two ratings, below which nothing is said."""


@dataclass(frozen=True, slots=True)
class CriterionAgreement:
    """Agreement on single responses: a criterion, or "thumbs".

    ``pairable`` responses have two or more ratings.
    """

    name: str
    alpha: Measure
    pairable: int


@dataclass(frozen=True, slots=True)
class AgreementEvidence:
    """What a selection of judgments says of agreement.

    Attributes:
        judgments: in the selection, of any kind.
        raw: agreement of any two labelers on preferences.
        alpha: on preferences; its interval tells whether they agree more than chance.
        has_orders: whether labelers are asked for preferences.
        rated: agreement on single responses.
        voters: labelers with a judgment in the selection.
        active: members who can judge.
        habits: of the project's labelers, the selection aside.
        disputed: comparisons with low agreement that are not settled.
        where: of which part of the judgments, such as " in round 2"; empty for all.
    """

    judgments: int
    raw: Measure
    alpha: Measure
    has_orders: bool
    rated: tuple[CriterionAgreement, ...] = ()
    voters: int = 0
    active: int = 0
    habits: tuple[LabelerHabits, ...] = ()
    disputed: int = 0
    where: str = ""


def of(evidence: AgreementEvidence) -> PageVerdict:
    """Return the verdict on agreement."""
    early = _early(evidence)
    if early is not None:
        return early
    found = _on_preferences(evidence) if evidence.has_orders else _on_ratings(evidence)
    return _with_habits(found, evidence)


def _early(evidence: AgreementEvidence) -> PageVerdict | None:
    where: dict[str, Figure] = {"where": evidence.where}
    collect = Advice.LABEL if evidence.active > 1 else Advice.INVITE
    if not evidence.judgments:
        return PageVerdict(Insight.NOTHING_JUDGED, Tone.EARLY, collect, where)
    if not evidence.has_orders and not evidence.rated:
        return PageVerdict(Insight.ONLY_TEXTS, Tone.NOTE, Advice.NONE, where)
    if evidence.voters < 2:
        return PageVerdict(Insight.ONE_LABELER, Tone.EARLY, collect, where)
    if evidence.has_orders:
        shared = Count(evidence.raw.n, "comparison")
    else:
        shared = Count(max(one.pairable for one in evidence.rated), "response")
    if shared.number >= SHARED_LEAST:
        return None
    figures = {**where, "shared": shared, "least": SHARED_LEAST}
    return PageVerdict(Insight.FEW_SHARED, Tone.EARLY, collect, figures)


def _on_preferences(evidence: AgreementEvidence) -> PageVerdict:
    figures: dict[str, Figure] = {
        "where": evidence.where,
        "agreement": evidence.raw,
        "low": EXPECTED_LOW,
        "high": EXPECTED_HIGH,
    }
    low, value, high = _bounds(evidence.raw)
    if _bounds(evidence.alpha)[0] <= 0 and value < EXPECTED_LOW:
        return PageVerdict(Insight.AGREEMENT_CHANCE, Tone.BAD, _remedy(evidence), figures)
    if high < EXPECTED_LOW:
        return PageVerdict(Insight.AGREEMENT_LOW, Tone.CHECK, _remedy(evidence), figures)
    if value < EXPECTED_LOW:
        return PageVerdict(Insight.AGREEMENT_UNCLEAR, Tone.NOTE, Advice.LABEL, figures)
    finding = Insight.AGREEMENT_HIGH if low > EXPECTED_HIGH else Insight.AGREEMENT_EXPECTED
    return PageVerdict(finding, Tone.GOOD, figures=figures)


def _on_ratings(evidence: AgreementEvidence) -> PageVerdict:
    """Judge by the criterion that labelers agree on least, of those with enough ratings."""
    measured = [one for one in evidence.rated if one.pairable >= SHARED_LEAST]
    worst = min(measured, key=lambda one: _bounds(one.alpha)[1])
    figures: dict[str, Figure] = {
        "where": evidence.where,
        "criterion": worst.name,
        "alpha": _in_words(worst.alpha),
        "expected": ALPHA_EXPECTED,
    }
    low, value, high = _bounds(worst.alpha)
    if low <= 0 and value < ALPHA_EXPECTED:
        return PageVerdict(Insight.RATINGS_CHANCE, Tone.BAD, _remedy(evidence), figures)
    if high < ALPHA_EXPECTED:
        return PageVerdict(Insight.RATINGS_LOW, Tone.CHECK, _remedy(evidence), figures)
    if value < ALPHA_EXPECTED:
        return PageVerdict(Insight.RATINGS_UNCLEAR, Tone.NOTE, Advice.LABEL, figures)
    return PageVerdict(Insight.RATINGS_EXPECTED, Tone.GOOD, figures=figures)


def _remedy(evidence: AgreementEvidence) -> Advice:
    return Advice.SETTLE if evidence.disputed else Advice.GUIDELINES


def _with_habits(found: PageVerdict, evidence: AgreementEvidence) -> PageVerdict:
    """Name the labeler whose work is unusual: it explains low agreement, or spoils a good one."""
    unusual = unusual_of(evidence.habits)
    culprit: Mapping[str, Figure] = {"culprit": ""}
    if unusual is None:
        return PageVerdict(found.finding, found.tone, found.advice, {**found.figures, **culprit})
    figures = unusual.figures
    culprit = {
        "culprit": f"{figures['labeler']} {figures['remarks']}",
        "labeler": figures["labeler"],
    }
    tone = found.tone if found.is_grave else unusual.tone
    return PageVerdict(found.finding, tone, unusual.advice, {**found.figures, **culprit})


def _bounds(measure: Measure) -> tuple[float, float, float]:
    """Return an interval with its middle; the whole range where nothing is known."""
    value = measure.value
    if not isinstance(value, int | float):
        return -1.0, 1.0, 1.0
    if not isinstance(measure.interval, Interval):
        return -1.0, value, 1.0
    return measure.interval.low, value, measure.interval.high


def _in_words(measure: Measure) -> str:
    low, value, high = _bounds(measure)
    if not isinstance(measure.value, int | float):
        return "not defined"
    interval = f" [{low:.2f}, {high:.2f}]" if isinstance(measure.interval, Interval) else ""
    return signs.with_minus(f"{value:.2f}{interval}")
