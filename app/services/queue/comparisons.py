"""Comparisons: created once, their slots counted, withdrawn and restored.

Only this module and `comparison_batches`, its form for many at once, change `open_slots` and
`done_slots`. Code that moves a slot holds the lock on the comparison's row (on SQLite there is only
one writer anyway).
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Executable,
    Table,
    bindparam,
    exists,
    false,
    func,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from app.db import now
from app.domain import earlier_turns
from app.domain.assignment import OVERLAP_MOST
from app.domain.judgment_kinds import JudgmentKind, check_k
from app.domain.states import ASSIGNMENT_MOVES, SLOT_MOVES, AssignmentState, SlotState, move
from app.errors import Conflict, Invalid, NotFound
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Membership,
    Project,
    Purpose,
    Slot,
)
from app.services.queue import eligibility

# Statements of every claim and submission, built once.
_LOCK = (
    select(Comparison)
    .where(Comparison.id == bindparam("id"))
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)
# On the table: every claim and submission moves a slot, and none needs the mapping for it.
_SLOT = cast(Table, Slot.__table__)
_TAKE_SLOT = (
    update(_SLOT)
    .where(
        _SLOT.c.id
        == select(_SLOT.c.id)
        .where(_SLOT.c.comparison_id == bindparam("of_comparison"), _SLOT.c.state == SlotState.OPEN)
        .order_by(_SLOT.c.n)
        .limit(1)
        .scalar_subquery()
    )
    .values(state=bindparam("new"))
    .returning(_SLOT.c.id)
)
_MOVE_SLOT = (
    update(_SLOT)
    .where(_SLOT.c.id == bindparam("of_slot"), _SLOT.c.state == bindparam("old"))
    .values(state=bindparam("new"))
    .returning(_SLOT.c.id)
)


def create(
    session: Session,
    project: Project,
    prompt_id: int,
    completion_ids: Sequence[int],
    *,
    natural_key: str,
    seed: int,
    purpose: Purpose = Purpose.TRAIN,
    round_id: int | None = None,
    evaluation_id: int | None = None,
    overlap: int | None = None,
    priority: int = 0,
    kind: JudgmentKind | None = None,
    origin_id: int | None = None,
    only_labeler_id: int | None = None,
    gold_answer: Mapping[str, Any] | None = None,
    gold_reason: str = "",
    chosen: Mapping[str, Any] | None = None,
) -> Comparison:
    """Create a comparison of completions in a canonical order drawn from `seed`.

    `gold_answer` refers to the order given here (`{"preferred": "a"}` is the first) and is stored
    in canonical order. A repeat keeps its origin's order. `chosen` is why a rule chose it. If there
    is a comparison with this natural key already, it is returned.
    """
    known = _by_natural_key(session, project.id, natural_key)
    if known is not None:
        return known
    kind = kind or project.judgment_kind
    overlap = project.overlap if overlap is None else overlap
    _check(session, prompt_id, completion_ids, kind, overlap)
    k = len(completion_ids)
    order = canonical_order(seed, natural_key, k) if origin_id is None else list(range(k))
    comparison = Comparison(
        project_id=project.id,
        prompt_id=prompt_id,
        round_id=round_id,
        evaluation_id=evaluation_id,
        kind=kind,
        purpose=purpose,
        overlap=overlap,
        priority=priority,
        open_slots=overlap,
        done_slots=0,
        is_open=True,
        is_withdrawn=False,
        origin_id=origin_id,
        only_labeler_id=only_labeler_id,
        gold_answer=None if gold_answer is None else _canonical_answer(gold_answer, order),
        gold_reason=gold_reason,
        chosen=None if chosen is None else dict(chosen),
        natural_key=natural_key,
        created_at=now(session),
    )
    session.add(comparison)
    session.flush()
    _fill(session, comparison, [completion_ids[given] for given in order])
    return comparison


def canonical_order(seed: int, natural_key: str, k: int) -> list[int]:
    """Return the order of k completions as indices of those given, drawn from `seed`."""
    order = list(range(k))
    random.Random(f"{seed}:{natural_key}").shuffle(order)
    return order


def completions_of(session: Session, comparison_id: int) -> tuple[Completion, ...]:
    """Return a comparison's completions in canonical order."""
    query = (
        select(Completion)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison_id)
        .order_by(ComparisonCompletion.position)
    )
    return tuple(session.scalars(query))


def lock(session: Session, comparison_id: int) -> Comparison:
    """Lock a comparison, so that others cannot move its slots, and return it refreshed."""
    comparison = session.scalar(_LOCK, {"id": comparison_id})
    if comparison is None:
        raise NotFound(f"there is no comparison {comparison_id}")
    return comparison


def take_slot(session: Session, comparison: Comparison, state: SlotState) -> int | None:
    """Move one open slot to `state` and return its id, or None if no slot is open."""
    slot_id = _moved(session, _TAKE_SLOT, of_comparison=comparison.id, new=state)
    if slot_id is not None:
        _count(comparison, opened=-1, done=1 if state is SlotState.DONE else 0)
    return slot_id


def take_counted_slot(session: Session, comparison_id: int) -> int:
    """Lease one open slot that the comparison's row counts as taken already; return its id."""
    slot_id = _moved(session, _TAKE_SLOT, of_comparison=comparison_id, new=SlotState.LEASED)
    if slot_id is None:
        raise Conflict(f"comparison {comparison_id} has no open slot")
    return slot_id


def move_slot(
    session: Session, comparison: Comparison, slot_id: int, old: SlotState, new: SlotState
) -> None:
    """Move a slot as the table of moves allows and update the comparison's counts.

    On a withdrawn comparison, a slot that would open closes instead.

    Raises:
        Conflict: the slot is not in the state `old`, or the move is not in the table.
    """
    move(SLOT_MOVES, f"slot {slot_id}", old, new)
    to = SlotState.CLOSED if new is SlotState.OPEN and comparison.is_withdrawn else new
    if _moved(session, _MOVE_SLOT, of_slot=slot_id, old=old, new=to) is None:
        raise Conflict(f"slot {slot_id} is no longer {old}")
    _count(
        comparison,
        opened=(to is SlotState.OPEN) - (old is SlotState.OPEN),
        done=(to is SlotState.DONE) - (old is SlotState.DONE),
    )


def _moved(session: Session, statement: Executable, **values: int | SlotState) -> int | None:
    session.flush()
    slot_id: int | None = session.connection().scalar(statement, values)
    return slot_id


def withdraw(session: Session, comparison_id: int) -> Comparison:
    """Take a comparison out of the queue; submitted judgments stay, leases end."""
    comparison = lock(session, comparison_id)
    comparison.is_withdrawn = True
    comparison.is_open = False
    _close(session, comparison, keep_leased=False)
    return comparison


def restore(session: Session, comparison_id: int) -> Comparison:
    """Put a withdrawn comparison back into the queue, for the judgments that are missing."""
    comparison = lock(session, comparison_id)
    if not comparison.is_withdrawn:
        return comparison
    comparison.is_withdrawn = False
    # An undo may have leased a slot again while the comparison was withdrawn.
    leased = session.scalar(
        select(func.count()).where(
            Slot.comparison_id == comparison_id, Slot.state == SlotState.LEASED
        )
    )
    slots = session.scalars(
        select(Slot.id)
        .where(Slot.comparison_id == comparison_id, Slot.state == SlotState.CLOSED)
        .order_by(Slot.n)
        .limit(comparison.overlap - comparison.done_slots - (leased or 0))
    ).all()
    for slot_id in slots:
        move_slot(session, comparison, slot_id, SlotState.CLOSED, SlotState.OPEN)
    return comparison


def asked_again(session: Session, comparison: Comparison) -> int | None:
    """Return the active comparison that repeats the question of this one, if there is one."""
    return session.scalar(
        select(Comparison.id).where(
            Comparison.project_id == comparison.project_id,
            Comparison.natural_key.startswith(f"again-{comparison.id}-"),
            Comparison.is_withdrawn == false(),
        )
    )


def count_slots(comparison: Comparison, *, added: int) -> None:
    """Update a locked comparison after open slots were added, or closed if negative."""
    comparison.overlap += added
    _count(comparison, opened=added)


def settle_for(session: Session, comparison_id: int) -> Comparison:
    """Close the open slots: ask for no more judgments than those submitted or in progress."""
    comparison = lock(session, comparison_id)
    _close(session, comparison, keep_leased=True)
    return comparison


def settle_stuck(session: Session, project_id: int, round_id: int) -> int:
    """Close a round's comparisons that no active member can judge any more; return how many.

    That happens when too many members skip a comparison; the round would otherwise wait forever.
    """
    stuck = session.scalars(
        select(Comparison.id)
        .where(
            Comparison.round_id == round_id,
            Comparison.project_id == project_id,
            is_unfinished(),
            Comparison.open_slots > 0,
            ~exists().where(
                Membership.project_id == project_id,
                Membership.is_paused == false(),
                eligibility.may_judge(Membership.user_id),
            ),
        )
        .order_by(Comparison.id)
    ).all()
    for comparison_id in stuck:
        settle_for(session, comparison_id)
    return len(stuck)


def is_unfinished() -> ColumnElement[bool]:
    """Return the condition of the partial index over comparisons that lack judgments."""
    return text("done_slots < overlap AND NOT is_withdrawn")  # type: ignore[return-value]


def is_complete(session: Session, comparison: Comparison) -> bool:
    """Return whether no comparison of this purpose in the round or evaluation lacks a judgment."""
    if comparison.done_slots < comparison.overlap and not comparison.is_withdrawn:
        return False
    same = (
        Comparison.round_id == comparison.round_id
        if comparison.round_id is not None
        else Comparison.evaluation_id == comparison.evaluation_id
    )
    rest = exists().where(same, Comparison.purpose == comparison.purpose, is_unfinished())
    return not session.scalar(select(rest))


def _fill(session: Session, comparison: Comparison, completion_ids: Sequence[int]) -> None:
    """Add the completions, in canonical order, and the open slots."""
    session.add_all(
        ComparisonCompletion(
            comparison_id=comparison.id, position=position, completion_id=completion_id
        )
        for position, completion_id in enumerate(completion_ids)
    )
    session.add_all(
        Slot(comparison_id=comparison.id, n=n, state=SlotState.OPEN)
        for n in range(comparison.overlap)
    )
    session.flush()


def _by_natural_key(session: Session, project_id: int, natural_key: str) -> Comparison | None:
    return session.scalar(
        select(Comparison).where(
            Comparison.project_id == project_id, Comparison.natural_key == natural_key
        )
    )


def _check(
    session: Session,
    prompt_id: int,
    completion_ids: Sequence[int],
    kind: JudgmentKind,
    overlap: int,
) -> None:
    if not 1 <= overlap <= OVERLAP_MOST:
        raise Invalid(f"overlap must be 1 to {OVERLAP_MOST}, not {overlap}")
    k = len(completion_ids)
    if len(set(completion_ids)) != k:
        raise Invalid(f"completions {list(completion_ids)} contain one twice")
    check_k(kind, k)
    query = select(Completion.id, Completion.earlier).where(
        Completion.id.in_(completion_ids), Completion.prompt_id == prompt_id
    )
    own = {row[0]: earlier_turns.follow_ups(row[1]) for row in session.execute(query)}
    foreign = sorted(set(completion_ids) - set(own))
    if foreign:
        raise Invalid(f"completion {foreign[0]} does not belong to prompt {prompt_id}")
    if len(set(own.values())) > 1:
        raise Invalid(f"completions {list(completion_ids)} respond to different follow-ups")


def _canonical_answer(answer: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    turned = dict(answer)
    if turned.get("preferred") in {"a", "b"}:
        given = "ab".index(turned["preferred"])
        turned["preferred"] = "ab"[order.index(given)]
    if turned.get("ranking") is not None:
        turned["ranking"] = [turned["ranking"][given] for given in order]
    if turned.get("ratings") is not None:
        turned["ratings"] = {
            name: [ratings[given] for given in order] for name, ratings in turned["ratings"].items()
        }
    return turned


def _count(comparison: Comparison, *, opened: int = 0, done: int = 0) -> None:
    comparison.open_slots += opened
    comparison.done_slots += done
    if comparison.open_slots < 0 or comparison.done_slots < 0:
        raise Conflict(f"comparison {comparison.id} would have a negative number of slots")
    comparison.is_open = comparison.open_slots > 0 and not comparison.is_withdrawn


def _close(session: Session, comparison: Comparison, *, keep_leased: bool) -> None:
    ending = [SlotState.OPEN] if keep_leased else [SlotState.OPEN, SlotState.LEASED]
    slots = session.execute(
        select(Slot.id, Slot.state).where(
            Slot.comparison_id == comparison.id, Slot.state.in_(ending)
        )
    ).all()
    for slot_id, state in slots:
        if state == SlotState.LEASED:
            _release(session, slot_id)
        move_slot(session, comparison, slot_id, SlotState(state), SlotState.CLOSED)
    if keep_leased:
        comparison.overlap -= len(slots)


def _release(session: Session, slot_id: int) -> None:
    assignment = session.scalar(
        select(Assignment).where(
            Assignment.slot_id == slot_id, Assignment.state == AssignmentState.LEASED
        )
    )
    if assignment is not None:
        assignment.state = move(
            ASSIGNMENT_MOVES,
            f"assignment {assignment.id}",
            assignment.state,
            AssignmentState.RELEASED,
        )
