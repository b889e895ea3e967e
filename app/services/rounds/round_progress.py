"""Progress of rounds: their jobs, checkpoints, evaluation, and judgments done and wanted."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import case, exists, func, select
from sqlalchemy.orm import Session, aliased

from app.domain.plan import RoundPlan
from app.domain.states import LIVE_ROUND_STATES, OVER_JOB_STATES, JobState, RoundState
from app.errors import NotFound
from app.models import Checkpoint, Comparison, Evaluation, Job, Purpose, Round
from app.services.quality.brief_cache import cached_briefly
from app.services.queue import comparisons
from app.services.rounds import evaluations

_WAITING = (RoundState.FAILED, RoundState.GATED, RoundState.DECIDING)  # for a person's decision


@dataclass(frozen=True, slots=True)
class LabelingProgress:
    """Comparisons, with the judgments they want and those done."""

    comparisons: int
    wanted: int
    done: int

    @property
    def is_complete(self) -> bool:
        """Whether all judgments that are wanted have been made."""
        return self.done >= self.wanted


@dataclass(frozen=True, slots=True)
class RoundOverview:
    """A round with its plan, jobs, labeling progress, evaluation and checkpoints."""

    round: Round
    plan: RoundPlan
    jobs: tuple[Job, ...]
    labeling: LabelingProgress
    evaluation_labeling: LabelingProgress
    evaluation: Evaluation | None
    checkpoints: tuple[Checkpoint, ...]


def overview(session: Session, round_: Round) -> RoundOverview:
    """Return a round with its jobs, labeling progress, evaluation and checkpoints."""
    checkpoints = session.scalars(
        select(Checkpoint).where(Checkpoint.round_id == round_.id).order_by(Checkpoint.id)
    )
    return RoundOverview(
        round_,
        RoundPlan.from_json(round_.plan),
        tuple(jobs_of(session, round_.id)),
        labeling_of(session, round_.id, Purpose.TRAIN),
        labeling_of(session, round_.id, Purpose.EVALUATION),
        evaluations.of_round(session, round_.id),
        tuple(checkpoints),
    )


@cached_briefly
def labeling_of(session: Session, round_id: int, purpose: Purpose) -> LabelingProgress:
    """Count a round's comparisons, and the judgments wanted and done; ignore withdrawn ones."""
    is_full = Comparison.done_slots > Comparison.overlap
    done_slots = case((is_full, Comparison.overlap), else_=Comparison.done_slots)
    count, wanted, done = session.execute(
        select(
            func.count(Comparison.id),
            func.coalesce(func.sum(Comparison.overlap), 0),
            func.coalesce(func.sum(done_slots), 0),
        ).where(
            Comparison.round_id == round_id,
            Comparison.purpose == purpose,
            Comparison.is_withdrawn.is_(False),
        )
    ).one()
    return LabelingProgress(count, int(wanted), int(done))


def is_labeled(session: Session, round_id: int, purpose: Purpose) -> bool:
    """Whether no comparison of the round is waiting for a judgment."""
    query = select(Comparison.id).where(
        Comparison.round_id == round_id, Comparison.purpose == purpose, comparisons.is_unfinished()
    )
    return session.scalar(query.limit(1)) is None


def jobs_of(session: Session, round_id: int) -> list[Job]:
    """Return a round's jobs, oldest first."""
    query = select(Job).where(Job.round_id == round_id).order_by(Job.id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def current(session: Session, project_id: int) -> Round | None:
    """Return the project's round in progress, if there is one."""
    return session.scalar(
        select(Round)
        .where(Round.project_id == project_id, Round.state.in_(LIVE_ROUND_STATES))
        .order_by(Round.number.desc())
        .limit(1)
    )


def get(session: Session, project_id: int, number: int) -> Round:
    """Return a project's round by its number.

    Raises:
        NotFound: the project has no such round.
    """
    round_ = session.scalar(
        select(Round).where(Round.project_id == project_id, Round.number == number)
    )
    if round_ is None:
        raise NotFound(f"there is no round {number} in this project")
    return round_


def by_id(session: Session, round_id: int | None) -> Round | None:
    """Return the round that a checkpoint or an evaluation names; None where it names none."""
    return session.get_one(Round, round_id) if round_id is not None else None


def has_any(session: Session, project_id: int) -> bool:
    """Return whether the project has ever had a round."""
    return bool(session.scalar(select(exists().where(Round.project_id == project_id))))


def of_project(session: Session, project_id: int) -> list[Round]:
    """Return the project's rounds, newest first."""
    query = select(Round).where(Round.project_id == project_id)
    return list(session.scalars(query.order_by(Round.number.desc())))


def waiting_for_lead(session: Session, project_ids: Collection[int]) -> dict[int, Round]:
    """Return the newest round of each of these projects that waits for a lead, by project."""
    newer = aliased(Round)
    newest = select(func.max(newer.number)).where(newer.project_id == Round.project_id)
    query = select(Round).where(
        Round.project_id.in_(project_ids),
        Round.state.in_(_WAITING),
        Round.number == newest.scalar_subquery(),
    )
    return {round_.project_id: round_ for round_ in session.scalars(query)}


def failed_job(session: Session, round_: Round) -> Job | None:
    """Return the newest job of a round that did not succeed."""
    over = OVER_JOB_STATES - {JobState.SUCCEEDED}
    failed = [job for job in jobs_of(session, round_.id) if job.state in over]
    return failed[-1] if failed else None


def failure(session: Session, round_: Round, stage: RoundState) -> str:
    """Return why a stage of a round failed, by its newest job that did not succeed."""
    job = failed_job(session, round_)
    if job is None:
        return f"{stage} has no job"
    lines = [line for line in job.error.strip().splitlines() if line.strip()]
    return f"job {job.id} ({job.kind}) {job.state}" + (f": {lines[-1].strip()}" if lines else "")
