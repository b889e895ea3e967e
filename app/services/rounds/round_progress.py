"""How far a round is: its jobs, its models, and how many judgments its comparisons have."""

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.domain.states import LIVE_ROUND_STATES
from app.errors import NotFound
from app.models import Checkpoint, Comparison, Evaluation, Job, Purpose, Round
from app.services.quality.result_cache import briefly
from app.services.queue import comparisons
from app.services.rounds import evaluations


@dataclass(frozen=True, slots=True)
class Labeling:
    """How far people are with a round's comparisons, in judgments."""

    comparisons: int
    wanted: int
    done: int

    @property
    def is_complete(self) -> bool:
        """True when every comparison that is not withdrawn has what it wants."""
        return self.done >= self.wanted


@dataclass(frozen=True, slots=True)
class Overview:
    """A round with all that hangs on it."""

    round: Round
    plan: RoundPlan
    jobs: tuple[Job, ...]
    labeling: Labeling
    evaluation_labeling: Labeling
    evaluation: Evaluation | None
    checkpoints: tuple[Checkpoint, ...]


def overview(session: Session, round_: Round) -> Overview:
    """Return a round with its jobs, its progress, its models and its evaluation."""
    made = session.scalars(
        select(Checkpoint).where(Checkpoint.round_id == round_.id).order_by(Checkpoint.id)
    )
    return Overview(
        round_,
        RoundPlan.from_json(round_.plan),
        tuple(jobs_of(session, round_.id)),
        labeling_of(session, round_.id, Purpose.TRAIN),
        labeling_of(session, round_.id, Purpose.EVALUATION),
        evaluations.of_round(session, round_.id),
        tuple(made),
    )


@briefly
def labeling_of(session: Session, round_id: int, purpose: Purpose) -> Labeling:
    """Count the judgments that a round's comparisons want and have."""
    is_full = Comparison.done_slots > Comparison.overlap
    have = case((is_full, Comparison.overlap), else_=Comparison.done_slots)
    asked, wanted, done = session.execute(
        select(
            func.count(Comparison.id),
            func.coalesce(func.sum(Comparison.overlap), 0),
            func.coalesce(func.sum(have), 0),
        ).where(
            Comparison.round_id == round_id,
            Comparison.purpose == purpose,
            Comparison.is_withdrawn.is_(False),
        )
    ).one()
    return Labeling(asked, int(wanted), int(done))


def is_labeled(session: Session, round_id: int, purpose: Purpose) -> bool:
    """True when no comparison of the round waits for a judgment."""
    query = select(Comparison.id).where(
        Comparison.round_id == round_id, Comparison.purpose == purpose, comparisons.is_unfinished()
    )
    return session.scalar(query.limit(1)) is None


def jobs_of(session: Session, round_id: int) -> list[Job]:
    """Return a round's jobs, oldest first."""
    query = select(Job).where(Job.round_id == round_id).order_by(Job.id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def current(session: Session, project_id: int) -> Round | None:
    """Return the project's round that is not over, if there is one."""
    return session.scalar(
        select(Round)
        .where(Round.project_id == project_id, Round.state.in_(LIVE_ROUND_STATES))
        .order_by(Round.number.desc())
        .limit(1)
    )


def get(session: Session, project_id: int, number: int) -> Round:
    """Return a project's round by its number.

    Raises:
        NotFound: there is none.
    """
    found = session.scalar(
        select(Round).where(Round.project_id == project_id, Round.number == number)
    )
    if found is None:
        raise NotFound(f"there is no round {number} in this project")
    return found


def by_id(session: Session, round_id: int | None) -> Round | None:
    """Return the round that a checkpoint or an evaluation names; None where it names none."""
    return session.get_one(Round, round_id) if round_id is not None else None


def of_project(session: Session, project_id: int) -> list[Round]:
    """Return the project's rounds, newest first."""
    query = select(Round).where(Round.project_id == project_id)
    return list(session.scalars(query.order_by(Round.number.desc())))
