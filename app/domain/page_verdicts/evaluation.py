"""The verdict on an evaluation: what its result recommends, once all of it has been judged.

Until then nothing is read from it, because to stop at a moment that looks good is to choose the
result. The recommendation is that of `app.domain.recommendations`, as for the decision itself.
"""

from dataclasses import dataclass

from app.domain import recommendations
from app.domain.page_verdicts.verdict import (
    Advice,
    Count,
    Figure,
    Insight,
    PageVerdict,
    Tone,
)
from app.domain.recommendations import EVEN, Recommendation, in_percent
from app.domain.states import RoundState
from app.domain.win_rates import EvaluationResults

ARBITER_SURE = 0.6
"""Share of wins by the reward model from which it contradicts people who like the policy less."""


@dataclass(frozen=True, slots=True)
class EvaluationEvidence:
    """An evaluation, and where its round stands.

    Attributes:
        results: so far; None if there is no evaluation.
        is_complete: whether all of it has been judged.
        done: judgments made of those `wanted`.
        state: of its round; None without one.
        round_number: of its round.
        check: why its round waits at a check; empty if it does not.
    """

    results: EvaluationResults | None
    is_complete: bool
    done: int = 0
    wanted: int = 0
    state: RoundState | None = None
    round_number: int = 0
    check: str = ""


def of(evidence: EvaluationEvidence) -> PageVerdict:
    """Return the verdict on an evaluation."""
    results = evidence.results
    recommended = recommendations.recommend(results)
    if results is None or recommended is None:
        return PageVerdict(Insight.NOT_EVALUATED, Tone.EARLY)
    if evidence.check:
        figures: dict[str, Figure] = {"round": _number(evidence), "reason": evidence.check}
        return PageVerdict(Insight.AT_CHECK, Tone.CHECK, Advice.CHOOSE, figures)
    if not evidence.is_complete:
        return _early(evidence, results)
    if evidence.state in (RoundState.PROMOTED, RoundState.HELD):
        return decided(recommended, evidence.state)
    finding, figures = (
        Insight.RESULT,
        {"result": recommended.verdict, "round": _number(evidence)},
    )
    arbiter = results.arbiter
    if is_worse(results) and arbiter is not None and arbiter.share >= ARBITER_SURE:
        finding = Insight.RESULT_AGAINST_REWARD
        figures |= {"arbiter": arbiter.name, "preferred": in_percent(arbiter.share, None, None)}
    advice = Advice.DECIDE if evidence.state is RoundState.DECIDING else Advice.NONE
    return PageVerdict(finding, tone_of(results, recommended), advice, figures)


def decided(recommended: Recommendation, state: RoundState) -> PageVerdict:
    """Return the verdict on a policy that was promoted or held, given what was recommended."""
    figures: dict[str, Figure] = {"did": did(state), "result": recommended.finding}
    if recommended.promote == (state is RoundState.PROMOTED):
        tone = Tone.GOOD if recommended.promote else Tone.NOTE
        return PageVerdict(Insight.DECIDED, tone, figures=figures)
    advice = Advice.NONE if recommended.promote else Advice.LARGER_EVALUATION
    return PageVerdict(Insight.DECIDED_AGAINST, Tone.CHECK, advice, figures)


def did(state: RoundState) -> str:
    """Return what was done with the policy of a round that is decided."""
    return "Promoted" if state is RoundState.PROMOTED else "Held"


def tone_of(results: EvaluationResults, recommended: Recommendation) -> Tone:
    """Return how serious a result is: bad only if people like the new policy less."""
    if recommended.promote:
        return Tone.GOOD
    return Tone.BAD if is_worse(results) else Tone.CHECK


def is_worse(results: EvaluationResults) -> bool:
    """Whether the whole interval is below one half."""
    return results.high is not None and results.high < EVEN


def _early(evidence: EvaluationEvidence, results: EvaluationResults) -> PageVerdict:
    if not evidence.wanted:
        return PageVerdict(Insight.RESPONDING, Tone.BUSY)
    figures: dict[str, Figure] = {
        "done": evidence.done,
        "wanted": Count(evidence.wanted, "judgment"),
        "who": f"the AI judge {results.decided_by}" if results.decided_by else "people",
    }
    advice = Advice.NONE if results.decided_by else Advice.LABEL
    return PageVerdict(Insight.JUDGING, Tone.EARLY, advice, figures)


def _number(evidence: EvaluationEvidence) -> str:
    return str(evidence.round_number or "")
