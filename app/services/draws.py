"""Which prompts a stage takes: by content hash, which is as good as chance and never changes.

Prompts that were used least come first, so that every round gets a fresh slice. The counts leave
out the round itself: a job that is run again takes the same prompts.
"""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Comparison, Completion, Prompt, Purpose, Round, Split
from app.services import practice_files

SERVED = "server-"
"""How the source keys of completions begin that a server gave; those from files are hashes."""


def least_used(
    session: Session, round_: Round, split: Split, purpose: Purpose, count: int
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
        .where(Prompt.project_id == round_.project_id, Prompt.split == split)
        .order_by(func.coalesce(used.c.times, 0), Prompt.content_hash)
        .limit(count)
    )
    return list(session.scalars(query))


def first(session: Session, project_id: int, split: Split, count: int) -> list[Prompt]:
    """Return the same prompts of a split every time."""
    query = (
        select(Prompt)
        .where(Prompt.project_id == project_id, Prompt.split == split)
        .order_by(Prompt.content_hash)
        .limit(count)
    )
    return list(session.scalars(query))


def for_evaluation(
    session: Session, round_: Round, count: int, frozen_share: float
) -> list[Prompt]:
    """Return test prompts: a frozen part that every round shares, then a fresh slice."""
    frozen = first(session, round_.project_id, Split.TEST, round(count * frozen_share))
    known = {prompt.id for prompt in frozen}
    fresh = least_used(session, round_, Split.TEST, Purpose.EVALUATION, count + len(frozen))
    rest = [prompt for prompt in fresh if prompt.id not in known]
    return [*frozen, *rest[: count - len(frozen)]]


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
