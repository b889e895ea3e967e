"""The verdicts on a project's next step and on a round, which follow from each other.

A round under way is judged as the project's next step is, so that a page never gives two opinions:
its words and its button are those of the step. While labelers judge, agreement that is less than
expected comes first, since what follows is trained on their judgments.
"""

from dataclasses import dataclass

from app.domain import recommendations
from app.domain.next_action import NextAction
from app.domain.page_verdicts import evaluation
from app.domain.page_verdicts.verdict import Advice, Insight, PageVerdict, Tone
from app.domain.states import RoundState
from app.domain.win_rates import EvaluationResults

OVER = frozenset({RoundState.PROMOTED, RoundState.HELD, RoundState.CANCELLED})

_TONES = {
    NextAction.RESUME_LABELING: Tone.CHECK,
    NextAction.IMPORT_PROMPTS: Tone.NEXT,
    NextAction.IMPORT_RESPONSES: Tone.NEXT,
    NextAction.ASK_LABELERS: Tone.NEXT,
    NextAction.SEE_RESULTS: Tone.GOOD,
    NextAction.COMPLETE_SETUP: Tone.NEXT,
    NextAction.CHOOSE_MODEL: Tone.BAD,
    NextAction.PLAN_ROUND: Tone.NEXT,
    NextAction.RETRY_STAGE: Tone.BAD,
    NextAction.PASS_GATE: Tone.CHECK,
}


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """The project's next step, as far as its tone depends on it.

    Attributes:
        action: what the lead is to do, or to wait for.
        has_labelers: whether anybody can judge.
        results: of the evaluation that is to be decided; None without one.
        is_sure: whether results that compare models have a sure winner; None if that is not known.
        is_stuck: whether a job waits for a worker that is not there, or after an error.
    """

    action: NextAction
    has_labelers: bool = True
    results: EvaluationResults | None = None
    is_stuck: bool = False
    is_sure: bool | None = True


def of_step(step: StepEvidence) -> PageVerdict:
    """Return the verdict on the next step; its words are those of the step."""
    return PageVerdict(Insight.STEP, _tone(step), Advice.STEP)


def of_round(
    step: StepEvidence,
    state: RoundState,
    number: int,
    *,
    results: EvaluationResults | None,
    agreement: PageVerdict | None,
) -> PageVerdict:
    """Return the verdict on a round: of its step while it is under way, then of its outcome.

    Args:
        step: the next one after this round, whether or not it is the newest.
        state: of the round.
        number: of the round.
        results: of its evaluation; None without one.
        agreement: on the round's own judgments; None while it is not known.
    """
    if state not in OVER:
        return _first_of(of_step(step), agreement if state is RoundState.LABELING else None)
    if state is RoundState.CANCELLED:
        return PageVerdict(Insight.CANCELLED, Tone.NOTE, figures={"round": str(number)})
    recommended = recommendations.recommend(results)
    if recommended is None:
        figures = {"did": evaluation.did(state)}
        return PageVerdict(Insight.DECIDED_UNSEEN, Tone.NOTE, figures=figures)
    return evaluation.decided(recommended, state)


def of_project(
    step: StepEvidence, agreement: PageVerdict | None, unusual: PageVerdict | None
) -> PageVerdict:
    """Return the verdict on a project: its next step, unless labels cannot be trusted.

    What stops the loop and what is to be decided come first. `agreement` is None while it is
    being computed, and `unusual` also if no labeler's work is unusual.
    """
    return _first_of(of_step(step), agreement, unusual, is_due=step.action is NextAction.DECIDE)


def _first_of(step: PageVerdict, *others: PageVerdict | None, is_due: bool = False) -> PageVerdict:
    if step.is_grave or is_due:
        return step
    return next((one for one in others if one is not None and one.is_grave), step)


def _tone(step: StepEvidence) -> Tone:
    match step.action:
        case NextAction.COLLECT_JUDGMENTS:
            return Tone.BUSY if step.has_labelers else Tone.CHECK
        case NextAction.WAIT:
            return Tone.CHECK if step.is_stuck else Tone.BUSY
        case NextAction.DECIDE:
            recommended = recommendations.recommend(step.results)
            if recommended is None or step.results is None:
                return Tone.NEXT
            return evaluation.tone_of(step.results, recommended)
        case NextAction.SEE_RESULTS if not step.is_sure:
            return Tone.NEXT if step.is_sure is None else Tone.EARLY
        case action:
            return _TONES[action]
