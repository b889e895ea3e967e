"""Which prompts a stage takes: by content hash, which is as good as chance and never changes.

Prompts that were used least come first, so that every round gets a fresh slice. The counts leave
out the round itself, and with `as_of` prompts that came later: a job that is run again takes the
same prompts, whatever was imported meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.models import Comparison, Completion, Prompt, Purpose, Round, Split
from app.services.judging import practice_files

SERVED = "server-"
"""How the source keys of completions begin that a server gave; those from files are hashes."""


def least_used(
    session: Session,
    round_: Round,
    split: Split,
    purpose: Purpose,
    count: int,
    *,
    as_of: datetime | None = None,
) -> list[Prompt]:
    """Return prompts of a split, those with the fewest comparisons in earlier rounds first."""
    used = (
        select(Comparison.prompt_id, func.count().label("times"))
        .join(Round, Round.id == Comparison.round_id)
        .where(
            Comparison.project_id == round_.project_id,
            Comparison.purpose == purpose,
            Round.number < round_.number,
        )
        .group_by(Comparison.prompt_id)
        .subquery()
    )
    query = (
        select(Prompt)
        .join(used, used.c.prompt_id == Prompt.id, isouter=True)
        .where(*_of_split(round_.project_id, split, as_of))
        .order_by(func.coalesce(used.c.times, 0), Prompt.content_hash)
        .limit(count)
    )
    return list(session.scalars(query))


def first(
    session: Session, project_id: int, split: Split, count: int, *, as_of: datetime | None = None
) -> list[Prompt]:
    """Return the same prompts of a split every time."""
    query = (
        select(Prompt)
        .where(*_of_split(project_id, split, as_of))
        .order_by(Prompt.content_hash)
        .limit(count)
    )
    return list(session.scalars(query))


def for_evaluation(
    session: Session,
    round_: Round,
    count: int,
    frozen_share: float,
    *,
    as_of: datetime | None = None,
) -> list[Prompt]:
    """Return test prompts: a frozen part that every round shares, then a fresh slice."""
    shared = round(count * frozen_share)
    frozen = first(session, round_.project_id, Split.TEST, shared, as_of=as_of)
    known = {prompt.id for prompt in frozen}
    most = count + len(frozen)
    fresh = least_used(session, round_, Split.TEST, Purpose.EVALUATION, most, as_of=as_of)
    rest = [prompt for prompt in fresh if prompt.id not in known]
    return [*frozen, *rest[: count - len(frozen)]]


def _of_split(project_id: int, split: Split, as_of: datetime | None) -> list[ColumnElement[bool]]:
    found = [Prompt.project_id == project_id, Prompt.split == split]
    return found if as_of is None else [*found, Prompt.created_at <= as_of]


def imported(session: Session, prompt_ids: Sequence[int], most: int) -> dict[int, list[Completion]]:
    """Return completions that came in files, at most so many for each prompt."""
    query = (
        select(Completion)
        .where(
            Completion.prompt_id.in_(prompt_ids),
            Completion.checkpoint_id.is_(None),
            Completion.author_id.is_(None),
            Completion.source_key.not_like(f"{practice_files.APART}%"),
            Completion.source_key.not_like(f"{SERVED}%"),
        )
        .order_by(Completion.prompt_id, Completion.id)
    )
    found: dict[int, list[Completion]] = {}
    for completion in session.scalars(query):
        mine = found.setdefault(completion.prompt_id, [])
        if len(mine) < most:
            mine.append(completion)
    return found
