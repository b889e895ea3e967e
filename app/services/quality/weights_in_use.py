"""Labeler weights in use: a lead's choice for the project, which rounds take when launched.

They are kept in the project's settings, with the ones they replaced, so that they can be taken
back. A round that has started keeps the weights of its plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import RoundPlan
from app.domain.reward_parts import LabelerWeight, WeightSource
from app.domain.reward_plan import RewardPlan
from app.errors import Conflict, Invalid
from app.models import Membership, Project, User
from app.services.people import audit

SETTING: Final = "labeler_weights"
EARLIER_MOST: Final = 10  # replaced weights that can be restored; the audit log has them all

_REASONS: Mapping[JudgmentKind, str] = {
    JudgmentKind.RATE: "the reward model learns from the mean of all ratings of a response",
    JudgmentKind.THUMBS: "the reward model learns from the mean of all thumbs on a response",
    JudgmentKind.WRITE: "labelers write demonstrations, which are not weighted",
}


@dataclass(frozen=True, slots=True)
class WeightsInUse:
    """The weights of labelers by pseudonym; all others weigh 1. Empty: no weights are in use.

    `since` and `by` tell when and by whom they were put to use; `earlier` are the weights that
    taking them back restores, None if there are none.
    """

    weights: Mapping[str, float]
    since: datetime | None = None
    by: str = ""
    earlier: Mapping[str, float] | None = None

    @property
    def labelers(self) -> tuple[LabelerWeight, ...]:
        """The weights as a plan has them."""
        return tuple(LabelerWeight(name, weight) for name, weight in self.weights.items())


def of_project(session: Session, project: Project) -> WeightsInUse:
    """Return the weights in use, with the name of the lead who chose them."""
    entries = _entries(project)
    if not entries:
        return WeightsInUse({})
    current = entries[-1]
    user = session.get(User, current["by"]) if current["by"] is not None else None
    return WeightsInUse(
        current["weights"],
        datetime.fromisoformat(current["since"]),
        user.name if user else "",
        entries[-2]["weights"] if len(entries) > 1 else None,
    )


def why_not(project: Project) -> str:
    """Return why labelers cannot be weighted in a project; empty if they can."""
    return _REASONS.get(JudgmentKind(project.judgment_kind), "")


def use(
    session: Session, project: Project, labelers: Sequence[LabelerWeight], *, actor_id: int | None
) -> WeightsInUse:
    """Put weights to use in all rounds launched from now on.

    Raises:
        Invalid: no labeler is named, or one twice, or one who is not in the project, or the
            project's judgments cannot be weighted.
    """
    _lock(session, project)
    if not labelers:
        raise Invalid("name at least one labeler with a weight, such as L3")
    RewardPlan(labelers=tuple(labelers))  # refuses two weights of one labeler
    check(session, project, labelers)
    entries = _entries(project)
    by_name = sorted(labelers, key=lambda one: (len(one.labeler), one.labeler))
    given = {one.labeler: float(one.weight) for one in by_name}
    if entries and entries[-1]["weights"] == given:
        return of_project(session, project)
    _store(project, [*entries, _entry(session, given, actor_id)])
    _record(session, project, "labeler_weights.use", actor_id, given)
    return of_project(session, project)


def take_back(
    session: Session, project: Project, *, since: datetime | None, actor_id: int | None
) -> WeightsInUse:
    """Take the weights out of use; those that they replaced are in use again, if any.

    Args:
        session: a transaction.
        project: the project.
        since: when the weights to take back were put to use; a repeated request then does no more.
        actor_id: the lead.

    Raises:
        Conflict: other weights are in use, or none.
    """
    _lock(session, project)
    entries = _entries(project)
    if not entries:
        raise Conflict(f"no labeler weights are in use in {project.name}")
    current = datetime.fromisoformat(entries[-1]["since"])
    if since is not None and since != current:
        raise Conflict(
            f"the weights in use in {project.name} were changed at {current:%Y-%m-%d %H:%M} UTC; "
            "reload to see them"
        )
    *earlier, _ = entries
    restored = earlier[-1]["weights"] if earlier else {}
    if earlier:
        earlier[-1] = _entry(session, restored, actor_id)
    _store(project, earlier)
    _record(session, project, "labeler_weights.take_back", actor_id, restored)
    return of_project(session, project)


def check(session: Session, project: Project, weights: Sequence[LabelerWeight]) -> None:
    """Refuse weights that a project's reward model could not use.

    Raises:
        Invalid: the judgments cannot be weighted, or a labeler is not in the project.
    """
    reason = why_not(project)
    if reason:
        raise Invalid(f"labelers of {project.name} cannot be weighted: {reason}")
    known = session.scalars(
        select(Membership.pseudonym)
        .where(Membership.project_id == project.id)
        .order_by(Membership.id)
    ).all()
    for labeler_weight in weights:
        if labeler_weight.labeler not in known:
            raise Invalid(
                f"{project.name} has no labeler {labeler_weight.labeler!r}; "
                f"its labelers are {', '.join(known) or 'none'}"
            )


def in_plan(session: Session, project: Project, plan: RoundPlan) -> RoundPlan:
    """Return a plan with the project's weights in place of None, and none if none are in use."""
    if plan.reward.labelers is not None:
        return plan
    return replace(plan, reward=_as_of_project(plan.reward, of_project(session, project)))


def in_next(session: Session, project: Project, plan: RoundPlan) -> RoundPlan:
    """Return the plan of a round with the weights of the round after it.

    Weights in use come first; without any, a round's own weights stay, and the project's do not.
    """
    in_use = of_project(session, project)
    is_own = bool(plan.reward.labelers) and plan.reward.labelers_from is WeightSource.PLAN
    if is_own and not in_use.weights:
        return plan
    return replace(plan, reward=_as_of_project(plan.reward, in_use))


def _as_of_project(reward: RewardPlan, in_use: WeightsInUse) -> RewardPlan:
    source = WeightSource.PROJECT if in_use.weights else WeightSource.PLAN
    return replace(reward, labelers=in_use.labelers, labelers_from=source)


def _lock(session: Session, project: Project) -> None:
    session.flush()
    session.get(Project, project.id, with_for_update=True, populate_existing=True)


def _entries(project: Project) -> list[dict[str, Any]]:
    """Return the weights that were put to use, the current ones last."""
    return list(project.settings.get(SETTING, []))


def _entry(session: Session, weights: Mapping[str, float], by: int | None) -> dict[str, Any]:
    return {"weights": dict(weights), "since": now(session).isoformat(), "by": by}


def _store(project: Project, entries: list[dict[str, Any]]) -> None:
    project.settings = {**project.settings, SETTING: entries[-EARLIER_MOST - 1 :]}


def _record(
    session: Session,
    project: Project,
    action: str,
    actor_id: int | None,
    weights: Mapping[str, float],
) -> None:
    session.flush()
    audit.record(
        session,
        action,
        project.slug,
        actor_id=actor_id,
        project_id=project.id,
        details={"weights": dict(weights)},
    )
