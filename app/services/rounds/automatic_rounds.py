"""Rounds that start without a person: a project's settings, pauses, and what is waited for.

`automatic_launch` starts the rounds; `rounds` tells of what people decide and of rounds that need
them. Whoever changes a row here locks it, and before the project if both: a labeler's submission
may hold the project and wait for a round, whose end may stop automatic rounds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.automatic_rounds import AutomaticSettings, Blocker, Facts, blocker, not_before
from app.domain.id_set import BLOCK, IN
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.errors import Conflict, Invalid
from app.models import (
    AutomaticRounds,
    Checkpoint,
    CheckpointInput,
    CheckpointKind,
    Comparison,
    ExportedJudgments,
    Judgment,
    Project,
    Purpose,
    Round,
)
from app.services.people import accounts, audit
from app.services.quality.brief_cache import cached_briefly
from app.services.queue import counted_judgments
from app.services.rounds import round_progress

REASON_MOST: Final = 300


@dataclass(frozen=True, slots=True)
class AutomaticStatus:
    """What the next automatic round waits for; `blocker` is None if it is about to start.

    `judgments` counts the new ones since a reward model or round, `since` (empty: ever), and no
    further than `settings.judgments`. A pause is the product's own where `paused_by` is empty.
    """

    settings: AutomaticSettings
    blocker: Blocker | None = Blocker.OFF
    is_on: bool = False
    judgments: int = 0
    since: str = ""
    next_number: int = 1
    open_round: int | None = None
    kept_plan: dict[str, Any] | None = None
    launched_in_row: int = 0
    not_before: datetime | None = None
    paused_at: datetime | None = None
    paused_by: str = ""
    pause_reason: str = ""

    @property
    def missing(self) -> int:
        """New judgments that are still waited for."""
        return self.settings.judgments - self.judgments


def of_project(session: Session, project_id: int) -> AutomaticRounds | None:
    """Return a project's row, as it is in the database; None if nobody has saved settings."""
    query = select(AutomaticRounds).where(AutomaticRounds.project_id == project_id)
    return session.scalar(query.execution_options(populate_existing=True))


def locked(session: Session, project_id: int) -> AutomaticRounds | None:
    """Return a project's row, locked until the end of the transaction."""
    session.flush()
    query = select(AutomaticRounds).where(AutomaticRounds.project_id == project_id)
    return session.scalar(query.with_for_update().execution_options(populate_existing=True))


def status(session: Session, project: Project, *, is_shown: bool = True) -> AutomaticStatus:
    """Return whether the next round is about to start, or what it waits for.

    Unless it is shown, judgments are only counted if nothing else is waited for.
    """
    row = of_project(session, project.id)
    newest = next(iter(round_progress.of_project(session, project.id)), None)
    next_number = newest.number + 1 if newest else 1
    if row is None or not row.is_on:
        settings = AutomaticSettings() if row is None else _settings(row)
        kept = None if row is None else row.plan
        return AutomaticStatus(settings, next_number=next_number, kept_plan=kept)
    settings = _settings(row)
    live = round_progress.current(session, project.id)
    facts = _facts(session, project, row, live, has_round=newest is not None)
    waits_for, judgments = blocker(settings, facts), 0
    if is_shown or waits_for is None:
        judgments = count_new(session, project.id, settings.judgments)
    if waits_for is None and judgments < settings.judgments:
        waits_for = Blocker.TOO_FEW
    return AutomaticStatus(
        settings,
        waits_for,
        is_on=True,
        judgments=judgments,
        since=_origin(session, project.id).name,
        next_number=next_number,
        open_round=live.number if live else None,
        kept_plan=row.plan,
        launched_in_row=row.launched_in_row,
        not_before=not_before(settings, row.launched_at),
        paused_at=row.paused_at,
        paused_by=accounts.user_name(session, row.paused_by_id),
        pause_reason=row.pause_reason,
    )


def _facts(
    session: Session, project: Project, row: AutomaticRounds, live: Round | None, *, has_round: bool
) -> Facts:
    return Facts(
        is_on=row.is_on,
        is_paused=row.paused_at is not None,
        is_labeling_paused=project.is_paused,
        has_open_round=live is not None,
        has_plan=row.plan is not None or has_round,
        launched_in_row=row.launched_in_row,
        launched_at=row.launched_at,
        now=now(session),
    )


@cached_briefly
def count_new(session: Session, project_id: int, most: int) -> int:
    """Count the judgments for training since the last reward model's, and no further than `most`.

    A changed judgment counts as a new one. The judgments before are not read.
    """
    new = (
        select(Judgment.id)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(
            Judgment.project_id == project_id,
            _origin(session, project_id).condition,
            counted_judgments.counts(),
            Comparison.purpose == Purpose.TRAIN,
        )
        .limit(most)
    )
    return session.scalar(select(func.count()).select_from(new.subquery())) or 0


def save(
    session: Session,
    project: Project,
    settings: AutomaticSettings,
    *,
    is_on: bool,
    plan: Mapping[str, Any] | None,
    actor_id: int,
) -> None:
    """Set when rounds start automatically; `plan` None takes that of the last round.

    Turning it on ends a pause. The rounds are launched with the rights of whoever saved last.

    Raises:
        Invalid: the plan is not one.
    """
    kept = None if plan is None else RoundPlan.from_json(plan).to_json()
    row = locked(session, project.id) or _new(session, project)
    before, was_on = _saved(row), bool(row.is_on)
    for name, value in asdict(settings).items():
        setattr(row, name, value)
    row.is_on, row.plan, row.set_by_id, row.set_at = is_on, kept, actor_id, now(session)
    if is_on and not was_on:
        _end_pause(row)
    _look_soon(project, is_on=is_on)
    session.flush()
    if before != _saved(row):
        _record(session, project.id, "automatic_rounds.set", actor_id, _saved(row))


def pause(session: Session, project: Project, *, reason: str, actor_id: int) -> None:
    """Start no rounds until a person resumes.

    Raises:
        Conflict: it is off, or paused already.
        Invalid: the reason is too long.
    """
    row = _on(session, project)
    if row.paused_at is not None:
        raise Conflict(f"automatic rounds of {project.name} are paused already")
    reason = reason.strip()
    if len(reason) > REASON_MOST:
        raise Invalid(f"a reason has at most {REASON_MOST} characters, not {len(reason)}")
    row.paused_at, row.paused_by_id, row.pause_reason = now(session), actor_id, reason
    project.automatic_look_from_id = None
    session.flush()
    _record(session, project.id, "automatic_rounds.pause", actor_id, {"reason": reason})


def resume(session: Session, project: Project, *, actor_id: int) -> None:
    """Go on after a pause, or after as many rounds in a row as are allowed without a decision.

    Raises:
        Conflict: it is off, or nothing stopped it.
    """
    row = _on(session, project)
    if row.paused_at is None and row.launched_in_row < row.most_in_row:
        raise Conflict(f"automatic rounds of {project.name} are not paused")
    reason = row.pause_reason
    _end_pause(row)
    _look_soon(project, is_on=True)
    session.flush()
    _record(session, project.id, "automatic_rounds.resume", actor_id, {"after": reason})


def stop(session: Session, project_id: int, reason: str) -> None:
    """Pause because of a round that needs a person; the reason is shown and recorded."""
    row = _locked_if_on(session, project_id)
    if row is None or row.paused_at is not None:
        return
    row.paused_at, row.paused_by_id, row.pause_reason = now(session), None, reason
    session.flush()
    _record(session, project_id, "automatic_rounds.stop", None, {"reason": reason})


def note_person(session: Session, project_id: int) -> None:
    """Note that a person launched or decided a round: the count of rounds in a row starts anew."""
    row = _locked_if_on(session, project_id)
    if row is not None:
        row.launched_in_row = 0
        session.flush()


def note_launch(session: Session, row: AutomaticRounds) -> None:
    """Note that a round has started automatically; the caller holds the project's lock."""
    row.launched_in_row += 1
    row.launched_at = now(session)
    session.flush()


def promotes(session: Session, project_id: int) -> bool:
    """Whether a round that started automatically may be promoted without a person."""
    row = of_project(session, project_id)
    return row is not None and row.is_on and row.promotes and row.paused_at is None


def ids_to_look_at(session: Session) -> list[int]:
    """Return the projects whose next round may start automatically, in the order of their ids."""
    query = (
        select(Project.id)
        .join(AutomaticRounds, AutomaticRounds.project_id == Project.id)
        .where(
            AutomaticRounds.is_on,
            AutomaticRounds.paused_at.is_(None),
            Project.archived_at.is_(None),
        )
    )
    return list(session.scalars(query.order_by(Project.id)))


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the judgments are newer than, and the condition that they are."""

    name: str
    condition: ColumnElement[bool]


def _origin(session: Session, project_id: int) -> _Origin:
    """Return the last round's reward model, or the start of a round that needed none."""
    reward = session.scalar(
        select(Checkpoint)
        .where(
            Checkpoint.project_id == project_id,
            Checkpoint.kind == CheckpointKind.REWARD,
            Checkpoint.round_id.is_not(None),
        )
        .order_by(Checkpoint.id.desc())
        .limit(1)
    )
    last = _last_decided(session, project_id)
    if last is not None and last.reward_checkpoint_id is None:
        # Without this, the same judgments would start the next round at once.
        return _Origin(f"round {last.number}", Judgment.submitted_at > last.created_at)
    if reward is None:
        return _Origin("", Judgment.id > 0)
    return _Origin(reward.name, _newer_than(session, reward))


def _last_decided(session: Session, project_id: int) -> Round | None:
    decided = Round.state.in_([RoundState.PROMOTED, RoundState.HELD])
    query = select(Round).where(Round.project_id == project_id, decided)
    return session.scalar(query.order_by(Round.number.desc()).limit(1))


def _newer_than(session: Session, reward: Checkpoint) -> ColumnElement[bool]:
    last = session.execute(
        select(ExportedJudgments.block, ExportedJudgments.members)
        .join(CheckpointInput, CheckpointInput.export_id == ExportedJudgments.export_id)
        .where(CheckpointInput.checkpoint_id == reward.id)
        .order_by(ExportedJudgments.block.desc())
        .limit(1)
    ).first()
    if last is None:  # trained on the judgments of an AI judge alone
        return Judgment.submitted_at > reward.created_at
    newest: int = last.block * BLOCK + last.members.rfind(IN)
    return Judgment.id > newest


def _settings(row: AutomaticRounds) -> AutomaticSettings:
    return AutomaticSettings(row.judgments, row.most_in_row, row.hours_between, row.promotes)


def _saved(row: AutomaticRounds) -> dict[str, Any]:
    names = ("is_on", "judgments", "most_in_row", "hours_between", "promotes", "plan")
    return {name: getattr(row, name) for name in names}


def _end_pause(row: AutomaticRounds) -> None:
    row.launched_in_row, row.paused_at, row.paused_by_id, row.pause_reason = 0, None, None, ""


def _look_soon(project: Project, *, is_on: bool) -> None:
    """Have the next judgment find out how many are missing; the sweep does, too."""
    project.automatic_look_from_id = 0 if is_on else None


def _new(session: Session, project: Project) -> AutomaticRounds:
    """Add a project's row, unless another request just has; the project's lock says so."""
    session.get(Project, project.id, with_for_update=True, populate_existing=True)
    row = of_project(session, project.id)
    if row is None:
        row = AutomaticRounds(project_id=project.id, is_on=False)
        session.add(row)
    return row


def _on(session: Session, project: Project) -> AutomaticRounds:
    row = locked(session, project.id)
    if row is None or not row.is_on:
        raise Conflict(f"rounds of {project.name} do not start automatically")
    return row


def _locked_if_on(session: Session, project_id: int) -> AutomaticRounds | None:
    row = of_project(session, project_id)  # most projects have none, and wait for nobody
    return locked(session, project_id) if row is not None and row.is_on else None


def _record(
    session: Session,
    project_id: int,
    action: str,
    actor_id: int | None,
    details: Mapping[str, Any],
) -> None:
    slug = session.get_one(Project, project_id).slug
    audit.record(session, action, slug, actor_id=actor_id, project_id=project_id, details=details)
