"""The state that a round is ready to enter, from its jobs, its judgments and its gates.

Nothing is changed here but the verdicts of gates; `rounds.advance` enters the state.
"""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.domain.states import OVER_JOB_STATES, JobState, RoundState
from app.models import Project, Purpose, Round
from app.services.jobs import jobs
from app.services.rounds import evaluations, gates, judge_jobs, stage_jobs
from app.services.rounds.round_progress import is_labeled, jobs_of

AFTER: Mapping[RoundState, RoundState] = {
    RoundState.GENERATING: RoundState.LABELING,
    RoundState.LABELING: RoundState.REWARD,
    RoundState.REWARD: RoundState.POLICY,
    RoundState.POLICY: RoundState.EVALUATING,
    RoundState.EVALUATING: RoundState.DECIDING,
}


def of(session: Session, round_: Round) -> RoundState | None:
    """Return the state that a round is ready to enter; None while it waits."""
    state = RoundState(round_.state)
    if state is RoundState.GATED:
        return gates.resumed(session, round_)
    after = _after(session, round_, state)
    if state not in gates.ORDER or after is RoundState.FAILED:
        return after
    job = stage_jobs.current(session, round_, state) if state in stage_jobs.KINDS else None
    is_held = gates.holds(session, round_, job, is_over=after is not None)
    return RoundState.GATED if is_held else after


def _after(session: Session, round_: Round, state: RoundState) -> RoundState | None:
    """Return the state that follows a stage, whatever its gates say; None while it is under way."""
    if state is RoundState.PLANNED:
        return RoundState.SFT if _needs_sft(session, round_) else _after_sft(round_)
    if state is RoundState.LABELING:
        return _after_labeling(session, round_)
    if state is RoundState.FAILED:
        return _revived(session, round_)
    if state not in stage_jobs.KINDS:
        return None
    job = stage_jobs.current(session, round_, state)
    if job is None or job.state not in OVER_JOB_STATES:
        return None
    if job.state != JobState.SUCCEEDED:
        return RoundState.FAILED
    if state is RoundState.EVALUATING:
        return _after_evaluating(session, round_)
    return _after_sft(round_) if state is RoundState.SFT else AFTER[state]


def _after_sft(round_: Round) -> RoundState:
    """Return the stage once there is a model: without a reward model to fit, it is the policy."""
    fits_reward = RoundPlan.from_json(round_.plan).fits_reward
    return RoundState.GENERATING if fits_reward else RoundState.POLICY


def _after_labeling(session: Session, round_: Round) -> RoundState | None:
    """Return what follows once neither people nor the plan's AI judge have anything left."""
    if RoundPlan.from_json(round_.plan).judge:
        job = jobs.by_natural_key(session, judge_jobs.round_key(session, round_))
        if job is None or job.state not in OVER_JOB_STATES:
            return None
        if job.state != JobState.SUCCEEDED:
            return RoundState.FAILED
    return RoundState.REWARD if is_labeled(session, round_.id, Purpose.TRAIN) else None


def _after_evaluating(session: Session, round_: Round) -> RoundState | None:
    """Return what follows once people have judged the evaluation, or the AI judge that decides."""
    evaluation = evaluations.of_round(session, round_.id)
    if evaluation is None:
        return RoundState.DECIDING
    job = judge_jobs.decide_round(session, round_, evaluation)
    if job is None:
        is_judged = evaluations.is_judged(session, evaluation.id)
        return RoundState.DECIDING if is_judged else None
    if job.state not in OVER_JOB_STATES:
        return None
    return RoundState.DECIDING if job.state == JobState.SUCCEEDED else RoundState.FAILED


def _revived(session: Session, round_: Round) -> RoundState | None:
    """Return the stage to go on with once the job that failed has been retried."""
    last = jobs_of(session, round_.id)[-1]
    if last.state in OVER_JOB_STATES and last.state != JobState.SUCCEEDED:
        return None
    return stage_jobs.stage_of(session, round_, last)


def _needs_sft(session: Session, round_: Round) -> bool:
    wants = RoundPlan.from_json(round_.plan).sft is not None
    return wants and session.get_one(Project, round_.project_id).sft_checkpoint_id is None
