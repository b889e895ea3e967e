"""The prompts of a stage, ordered by content hash: effectively random, and stable.

The least used prompts come first, so that every round gets a fresh slice. The counts leave out the
round itself, and `as_of` leaves out prompts imported later, so that a job that is retried takes the
same prompts.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.models import Comparison, Completion, Prompt, Purpose, Round, Split
from app.models.prompts import FRESH_KEYS
from app.services.judging import practice_files

SERVED = "server-"
"""Prefix of the source keys of completions from a server; those from files are hashes."""


def least_used(
    session: Session,
    round_: Round,
    split: Split,
    purpose: Purpose,
    count: int,
    *,
    as_of: datetime | None = None,
) -> list[Prompt]:
    """Return prompts of a split, the least compared in earlier rounds first."""
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
    """Return the first prompts of a split by content hash: the same ones in every round."""
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
    """Return test prompts: a frozen share common to all rounds, then a fresh slice."""
    frozen_count = round(count * frozen_share)
    frozen = first(session, round_.project_id, Split.TEST, frozen_count, as_of=as_of)
    frozen_ids = {prompt.id for prompt in frozen}
    most = count + len(frozen)
    candidates = least_used(session, round_, Split.TEST, Purpose.EVALUATION, most, as_of=as_of)
    fresh = [prompt for prompt in candidates if prompt.id not in frozen_ids]
    return [*frozen, *fresh[: count - len(frozen)]]


def _of_split(project_id: int, split: Split, as_of: datetime | None) -> list[ColumnElement[bool]]:
    conditions = [Prompt.project_id == project_id, Prompt.split == split]
    return conditions if as_of is None else [*conditions, Prompt.created_at <= as_of]


def imported(session: Session, prompt_ids: Sequence[int], most: int) -> dict[int, list[Completion]]:
    """Return imported completions by prompt, at most `most` for each."""
    query = (
        select(Completion)
        .where(
            Completion.prompt_id.in_(prompt_ids),
            Completion.checkpoint_id.is_(None),
            Completion.author_id.is_(None),
            Completion.source_key.not_like(f"{practice_files.APART}%"),
            Completion.source_key.not_like(f"{SERVED}%"),
            Completion.source_key.not_like(f"{FRESH_KEYS}%"),
        )
        .order_by(Completion.prompt_id, Completion.id)
    )
    by_prompt: dict[int, list[Completion]] = {}
    for completion in session.scalars(query):
        completions = by_prompt.setdefault(completion.prompt_id, [])
        if len(completions) < most:
            completions.append(completion)
    return by_prompt
