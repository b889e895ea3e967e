"""Whatever can give a round its last judgment: a submission, a withdrawal, a smaller overlap.

Each of these tells the round itself, so that no caller has to. The rooms below cannot import
rounds; the web may therefore not import `judging.labeling` and `queue.overlap`, which only record
(an import contract says so). Skipping, undoing, revising and retracting leave a comparison with as
many judgments as before or fewer, and are called where they are.
"""

from functools import partial

import structlog
from sqlalchemy.orm import Session

from app.db.engine import later
from app.errors import AttuneError
from app.models import Comparison, Project
from app.services.judging import labeling
from app.services.judging.submissions import Outcome, Submission
from app.services.people import audit
from app.services.queue import comparisons, overlap, steering
from app.services.rounds import automatic_launch, round_progress, rounds

log = structlog.get_logger(__name__)


def submit(session: Session, project: Project, labeler_id: int, submission: Submission) -> Outcome:
    """Record a judgment as `labeling.submit` does, and advance its round if it was the last one.

    Raises:
        AttuneError: as `labeling.submit`; nothing was written then.
    """
    outcome = labeling.submit(session, project, labeler_id, submission)
    _advance_after(session, outcome)
    _look_at_project(session, project, outcome)
    return outcome


def withdraw(session: Session, project_id: int, comparison_id: int, *, actor_id: int) -> Comparison:
    """Take a comparison out of the queue; its judgments stay on record and no longer count."""
    comparison = steering.locked(session, project_id, comparison_id)
    if not comparison.is_withdrawn:
        comparisons.withdraw(session, comparison_id)
        audit.record(
            session,
            "comparison.withdraw",
            f"comparison {comparison_id}",
            actor_id=actor_id,
            project_id=project_id,
        )
    _advance_current(session, project_id)
    return comparison


def set_overlap(
    session: Session,
    project_id: int,
    number: int,
    *,
    round_number: int | None = None,
    actor_id: int,
) -> int:
    """Ask for another number of judgments of each unfinished comparison; return how many changed.

    Judgments given and being given stay, so a comparison may keep more than was asked for.

    Raises:
        NotFound: the project has no round of that number.
        Invalid: the overlap is out of range.
    """
    round_id = None
    if round_number is not None:
        round_id = round_progress.get(session, project_id, round_number).id
    changed = overlap.change(session, project_id, number, round_id)
    if changed:
        audit.record(
            session,
            "overlap.set",
            f"{changed} comparisons",
            actor_id=actor_id,
            project_id=project_id,
            details={"overlap": number, "comparisons": changed, "round": round_id},
        )
    _advance_current(session, project_id)
    return changed


def _advance_after(session: Session, outcome: Outcome) -> None:
    """Advance the round of a judgment where it may have been the last one.

    On PostgreSQL the last judgments of two comparisons can be submitted at once, and neither
    transaction sees the other. Each then looks again after its commit, which costs its response
    nothing; `rounds.sweep` covers a process that dies in between. SQLite has one writer.
    """
    if outcome.round_id is None:
        return
    if outcome.round_complete:
        try:
            with session.begin_nested():
                rounds.advance(session, outcome.round_id)
        except AttuneError as error:  # the judgment stands all the same
            log.warning("round left to the sweeper", round=outcome.round_id, error=str(error))
    elif outcome.comparison_complete and session.get_bind().dialect.name != "sqlite":
        look = partial(_look_again, comparison_id=outcome.comparison_id, round_id=outcome.round_id)
        later(session, look)


def _look_again(session: Session, comparison_id: int, round_id: int) -> None:
    if comparisons.is_complete(session, session.get_one(Comparison, comparison_id)):
        rounds.advance(session, round_id)


def _look_at_project(session: Session, project: Project, outcome: Outcome) -> None:
    """Start the next round automatically if this judgment may be the last one it waits for.

    The project knows from which judgment on, so that all others cost nothing. The launch is a
    transaction of its own: the judgment stands whatever comes of it.
    """
    look_from = project.automatic_look_from_id
    if look_from is not None and outcome.judgment_id >= look_from:
        later(session, partial(automatic_launch.look, project_id=project.id))


def _advance_current(session: Session, project_id: int) -> None:
    """Advance the project's current round, which may have nothing left to ask for."""
    current = round_progress.current(session, project_id)
    if current is not None:
        session.flush()
        rounds.advance(session, current.id)
