"""The verdict on a model: whether what it is for can be built on it.

A check of its round that failed comes first, in the words of the check. Without one, a reward model
is compared with chance and with people on the same held-out votes, and a policy by its evaluation.
"""

from dataclasses import dataclass

from app.domain import signs
from app.domain.page_verdicts import evaluation
from app.domain.page_verdicts.evaluation import EvaluationEvidence
from app.domain.page_verdicts.verdict import Advice, Figure, Insight, PageVerdict, Tone
from app.domain.recommendations import EVEN, in_percent

_BASES = {
    "checking": (Insight.BASE_CHECKING, Tone.BUSY, Advice.NONE),
    "unchecked": (Insight.BASE_UNCHECKED, Tone.EARLY, Advice.CHECK_AGAIN),
    "failed": (Insight.BASE_CHECK_FAILED, Tone.CHECK, Advice.CHECK_AGAIN),
    "ready": (Insight.BASE_READY, Tone.GOOD, Advice.NONE),
}


@dataclass(frozen=True, slots=True)
class RewardEvidence:
    """A reward model on single held-out votes; None where a figure is not defined.

    Attributes:
        accuracy: share of votes that it predicts, with its interval `low` to `high`.
        human: share of the same votes that one labeler predicts.
        more: what 500 more comparisons are expected to bring, in points; None if not measured.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    human: float | None
    more: float | None = None


@dataclass(frozen=True, slots=True)
class ModelEvidence:
    """What is known of a model.

    Attributes:
        kind: base, sft, reward or policy.
        is_retired: whether nothing new uses it.
        check: why a check of its round failed or waits; empty if none does.
        is_waiting: whether the round waits at that check.
        round_number: of its round.
        base: what is known of a base model, as a state; `refusal` and `error` say why.
        reward: a reward model's figures; None without held-out votes.
        evaluation: a policy's; None without one.
    """

    kind: str
    is_retired: bool = False
    check: str = ""
    is_waiting: bool = False
    round_number: int = 0
    base: str = ""
    refusal: str = ""
    reward: RewardEvidence | None = None
    evaluation: EvaluationEvidence | None = None


def of(evidence: ModelEvidence) -> PageVerdict:
    """Return the verdict on a model."""
    if evidence.is_retired:
        return PageVerdict(Insight.RETIRED, Tone.NOTE)
    if evidence.kind == "base":
        return _of_base(evidence)
    if evidence.kind == "policy" and _is_judged(evidence.evaluation):
        assert evidence.evaluation is not None
        return evaluation.of(evidence.evaluation)  # people's votes are above any check
    if evidence.check:
        figures: dict[str, Figure] = {
            "round": str(evidence.round_number or ""),
            "reason": evidence.check,
        }
        if evidence.is_waiting:
            return PageVerdict(Insight.AT_CHECK, Tone.CHECK, Advice.CHOOSE, figures)
        return PageVerdict(Insight.FAILED_CHECK, Tone.CHECK, Advice.NONE, figures)
    match evidence.kind:
        case "reward":
            return _of_reward(evidence.reward)
        case "policy":
            return evaluation.of(evidence.evaluation or EvaluationEvidence(None, False))
    return PageVerdict(Insight.SFT_READY, Tone.NOTE)


def _is_judged(found: EvaluationEvidence | None) -> bool:
    return found is not None and found.is_complete and not found.check


def _of_base(evidence: ModelEvidence) -> PageVerdict:
    if evidence.refusal:
        figures = {"reason": evidence.refusal}
        return PageVerdict(Insight.BASE_REFUSED, Tone.BAD, Advice.CHOOSE_BASE, figures)
    finding, tone, advice = _BASES[evidence.base]
    return PageVerdict(finding, tone, advice)


def _of_reward(found: RewardEvidence | None) -> PageVerdict:
    if found is None or found.accuracy is None:
        return PageVerdict(Insight.REWARD_UNMEASURED, Tone.EARLY, Advice.MORE_JUDGMENTS)
    figures: dict[str, Figure] = {
        "accuracy": in_percent(found.accuracy, found.low, found.high),
        "human": "" if found.human is None else in_percent(found.human, None, None),
        "more": "" if found.more is None else signs.signed(100 * found.more, 1),
    }
    low = found.accuracy if found.low is None else found.low
    high = found.accuracy if found.high is None else found.high
    if low <= EVEN:
        return PageVerdict(Insight.REWARD_CHANCE, Tone.BAD, Advice.MORE_JUDGMENTS, figures)
    if found.human is None:
        return PageVerdict(Insight.REWARD_ABOVE_CHANCE, Tone.GOOD, figures=figures)
    if high < found.human:
        advice = Advice.MORE_JUDGMENTS
        return PageVerdict(Insight.REWARD_BELOW_PEOPLE, Tone.NOTE, advice, figures)
    return PageVerdict(Insight.REWARD_AS_PEOPLE, Tone.GOOD, figures=figures)
