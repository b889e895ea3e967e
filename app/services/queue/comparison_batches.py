"""Many comparisons at once: created, and given judgments, with a few statements for all of them.

The rows are those that `comparisons` would add one by one; a test holds the two against each other.
Callers answer for what they pass: completions of the prompt, none twice, as many as the kind takes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain.judgment_kinds import JudgmentKind, check_k
from app.domain.states import SlotState
from app.models import Comparison, ComparisonCompletion, Project, Purpose, Slot

_COMPARISON = (
    *("id", "project_id", "prompt_id", "round_id", "evaluation_id", "kind", "purpose", "overlap"),
    *("priority", "open_slots", "done_slots", "is_open", "is_withdrawn", "origin_id"),
    *("only_labeler_id", "gold_answer", "gold_reason", "natural_key", "created_at"),
)
_MEMBER = ("comparison_id", "position", "completion_id")
_SLOT = ("id", "comparison_id", "n", "state")
_DONE, _OPEN, _TRAIN = SlotState.DONE.value, SlotState.OPEN.value, Purpose.TRAIN.value


@dataclass(frozen=True, slots=True)
class NewComparison:
    """A comparison to create; `completion_ids` are in canonical order.

    Of its `overlap` slots, `done` have a judgment already.
    """

    prompt_id: int
    completion_ids: Sequence[int]
    kind: JudgmentKind
    natural_key: str
    overlap: int
    priority: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class CreatedComparison:
    """The id of a comparison, and its slots that are done."""

    id: int
    done_slot_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class KnownComparison:
    """A stored comparison with its completions in canonical order."""

    id: int
    kind: JudgmentKind
    completion_ids: tuple[int, ...]


def by_natural_key(
    session: Session, project_id: int, keys: Collection[str]
) -> dict[str, KnownComparison]:
    """Return the project's comparisons that have one of these natural keys."""
    if not keys:
        return {}
    one_of = bulk.among(session, Comparison.natural_key, keys)
    named = select(Comparison.natural_key, Comparison.id, Comparison.kind)
    found = session.execute(named.where(Comparison.project_id == project_id, one_of)).all()
    members: dict[int, list[int]] = defaultdict(list)
    if found:
        query = (
            select(ComparisonCompletion.comparison_id, ComparisonCompletion.completion_id)
            .where(
                bulk.among(session, ComparisonCompletion.comparison_id, [row[1] for row in found])
            )
            .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
        )
        for comparison_id, completion_id in session.execute(query):
            members[comparison_id].append(completion_id)
    return {
        key: KnownComparison(of, JudgmentKind(kind), tuple(members[of])) for key, of, kind in found
    }


def create(
    session: Session, project: Project, wanted: Sequence[NewComparison]
) -> list[CreatedComparison]:
    """Create comparisons that are not there yet, in the order given."""
    ids = bulk.reserve_ids(session, Comparison, len(wanted))
    slot_ids = iter(bulk.reserve_ids(session, Slot, sum(new.overlap for new in wanted)))
    moment = now(session)
    rows, members, slots, created = [], [], [], []
    for comparison_id, new in zip(ids, wanted, strict=True):
        check_k(new.kind, len(new.completion_ids))
        rows.append((*_row(comparison_id, project.id, new), moment))
        members += [(comparison_id, at, each) for at, each in enumerate(new.completion_ids)]
        own = [next(slot_ids) for _ in range(new.overlap)]
        slots += [
            (slot_id, comparison_id, n, _DONE if n < new.done else _OPEN)
            for n, slot_id in enumerate(own)
        ]
        created.append(CreatedComparison(comparison_id, own[: new.done]))
    bulk.insert(session, Comparison, _COMPARISON, rows)
    bulk.insert(session, ComparisonCompletion, _MEMBER, members)
    bulk.insert(session, Slot, _SLOT, slots)
    return created


def take_slots(session: Session, wanted: Mapping[int, int]) -> dict[int, list[int]]:
    """Give slots of comparisons to judgments, adding slots where too few are open.

    `wanted` has the number for each comparison; returned are the ids of the slots of each, which
    are done. The comparisons are locked in the order of their ids.
    """
    if not wanted:
        return {}
    columns = (Comparison.id, Comparison.overlap, Comparison.open_slots, Comparison.done_slots)
    locked = session.execute(
        select(*columns, Comparison.is_withdrawn)
        .where(bulk.among(session, Comparison.id, wanted))
        .order_by(Comparison.id)
        .with_for_update(key_share=True)
    ).all()
    is_open = _open_slots(session, wanted)
    taken = {of: is_open[of][:count] for of, count in wanted.items()}
    missing = {of: wanted[of] - len(taken[of]) for of in wanted}
    _set_done(session, [slot_id for each in taken.values() for slot_id in each])
    changes = [
        {
            "of_id": row.id,
            "overlap": row.overlap + missing[row.id],
            "open_slots": row.open_slots - len(taken[row.id]),
            "done_slots": row.done_slots + wanted[row.id],
            "is_open": row.open_slots > len(taken[row.id]) and not row.is_withdrawn,
        }
        for row in locked
    ]
    for of, added in _add_done(session, missing).items():
        taken[of] += added
    session.connection().execute(
        update(Comparison)
        .where(Comparison.id == bindparam("of_id"))
        .values({name: bindparam(name) for name in changes[0] if name != "of_id"}),
        changes,
    )
    _expire(session, wanted)
    return taken


def _row(comparison_id: int, project_id: int, new: NewComparison) -> tuple[object, ...]:
    still_open = new.overlap - new.done
    return (
        *(comparison_id, project_id, new.prompt_id, None, None, new.kind.value),
        *(_TRAIN, new.overlap, new.priority, still_open, new.done),
        *(still_open > 0, False, None, None, None, "", new.natural_key),
    )


def _open_slots(session: Session, comparison_ids: Collection[int]) -> dict[int, list[int]]:
    query = (
        select(Slot.comparison_id, Slot.id)
        .where(bulk.among(session, Slot.comparison_id, comparison_ids))
        .where(Slot.state == SlotState.OPEN)
        .order_by(Slot.comparison_id, Slot.n)
    )
    slots: dict[int, list[int]] = defaultdict(list)
    for comparison_id, slot_id in session.execute(query):
        slots[comparison_id].append(slot_id)
    return slots


def _set_done(session: Session, slot_ids: Sequence[int]) -> None:
    if slot_ids:
        session.execute(
            update(Slot)
            .where(bulk.among(session, Slot.id, slot_ids))
            .values(state=SlotState.DONE)
            .execution_options(synchronize_session=False)
        )


def _add_done(session: Session, missing: Mapping[int, int]) -> dict[int, list[int]]:
    """Add slots that have a judgment already, numbered after those there are."""
    wanted = {of: count for of, count in missing.items() if count}
    if not wanted:
        return {}
    last = select(Slot.comparison_id, func.max(Slot.n)).group_by(Slot.comparison_id)
    query = last.where(bulk.among(session, Slot.comparison_id, wanted))
    numbers = {comparison_id: n + 1 for comparison_id, n in session.execute(query)}
    ids = iter(bulk.reserve_ids(session, Slot, sum(wanted.values())))
    rows, added = [], defaultdict(list)
    for of, count in wanted.items():
        for n in range(numbers.get(of, 0), numbers.get(of, 0) + count):
            slot_id = next(ids)
            rows.append((slot_id, of, n, SlotState.DONE.value))
            added[of].append(slot_id)
    bulk.insert(session, Slot, _SLOT, rows)
    return added


def _expire(session: Session, comparison_ids: Iterable[int]) -> None:
    """Let objects of the session that have been loaded read their new counts."""
    for comparison_id in comparison_ids:
        loaded = session.identity_map.get(session.identity_key(Comparison, comparison_id))
        if loaded is not None:
            session.expire(loaded)
