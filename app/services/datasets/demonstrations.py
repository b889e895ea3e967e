"""Demonstrations: good responses written by people, imported or written by labelers.

Texts that labelers write or edit are read from their judgments each time, so an undo, a revision or
a retraction applies here, too. Only judgments for training count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import WRITTEN_KINDS
from app.formats.training_rows import DatasetPrompt
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Demonstration,
    Judgment,
    Prompt,
    Purpose,
    Split,
)
from app.services.project import prompt_search
from app.services.queue import counted_judgments

PAGE = 500

PromptLabelNames = tuple[tuple[str, ...], tuple[str, ...]]
"""Categories and tags to select prompts by, any of each; an empty tuple selects all."""
NO_LABELS: PromptLabelNames = ((), ())


@dataclass(frozen=True, slots=True)
class DemonstrationText:
    """A prompt with a response that a person wrote."""

    prompt: DatasetPrompt
    text: str


@dataclass(frozen=True, slots=True)
class DemonstrationPage:
    """A page of imported demonstrations, and where the next page begins."""

    rows: tuple[DemonstrationText, ...]
    after: int | None  # None on the last page


def of_files(
    session: Session,
    project_id: int,
    splits: Sequence[Split],
    *,
    after: int = 0,
    limit: int = PAGE,
    labels: PromptLabelNames = NO_LABELS,
    since: datetime | None = None,
) -> DemonstrationPage:
    """Return the next imported demonstrations, in the order of their import."""
    newer = [] if since is None else [Demonstration.created_at > since]
    query = (
        select(Demonstration, Prompt)
        .join(Prompt, Prompt.id == Demonstration.prompt_id)
        .where(
            Demonstration.project_id == project_id,
            Demonstration.id > after,
            Prompt.split.in_(splits),
            *prompt_search.is_labelled(project_id, *labels),
            *newer,
        )
        .order_by(Demonstration.id)
        .limit(limit)
    )
    result = session.execute(query).all()
    rows = tuple(DemonstrationText(_prompt_text(prompt), row.text) for row, prompt in result)
    return DemonstrationPage(rows, result[-1][0].id if len(result) == limit else None)


def count_by_split(
    session: Session, project_id: int, labels: PromptLabelNames = NO_LABELS
) -> dict[Split, int]:
    """Count the imported demonstrations in each split."""
    query = (
        select(Prompt.split, func.count(Demonstration.id))
        .join(Prompt, Prompt.id == Demonstration.prompt_id)
        .where(
            Demonstration.project_id == project_id,
            *prompt_search.is_labelled(project_id, *labels),
        )
        .group_by(Prompt.split)
    )
    return {Split(split): count for split, count in session.execute(query)}


def written(
    session: Session, project_id: int, splits: Sequence[Split], *, as_of: datetime | None = None
) -> Iterator[DemonstrationText]:
    """Yield texts that labelers wrote and that were not imported, in the order of the judgments.

    With `as_of` these are the texts that were current then, whatever has changed since. An edited
    response to a follow-up has a prompt with the turns before it.
    """
    query = (
        select(Judgment.text, Prompt, Completion.earlier)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(
            ComparisonCompletion, ComparisonCompletion.comparison_id == Comparison.id, isouter=True
        )
        .join(Completion, Completion.id == ComparisonCompletion.completion_id, isouter=True)
        .where(*_counts(session, project_id, as_of), Prompt.split.in_(splits))
        .order_by(Judgment.id)
    )
    seen: set[tuple[int, str, str]] = set()
    for text, prompt, earlier in session.execute(query):
        key = (prompt.id, text, str(earlier or ""))
        if text is not None and key not in seen:
            seen.add(key)
            shown = _prompt_text(prompt)
            messages = (*shown.messages, *(earlier or ()))
            yield DemonstrationText(replace(shown, messages=messages), text)


def every(
    session: Session, project_id: int, split: Split, *, as_of: datetime | None = None
) -> list[DemonstrationText]:
    """Return the demonstrations of a split, imported ones first."""
    texts: list[DemonstrationText] = []
    after: int | None = 0
    while after is not None:
        page = of_files(session, project_id, (split,), after=after)
        texts.extend(page.rows)
        after = page.after
    return [*texts, *written(session, project_id, (split,), as_of=as_of)]


def count(session: Session, project_id: int, split: Split | None = None) -> int:
    """Count the demonstrations; the same text for the same prompt counts once."""
    of_files, by_labelers = _sources(session, project_id, split)
    imported = session.scalar(select(func.count()).select_from(of_files.subquery()))
    own = session.scalar(select(func.count()).select_from(by_labelers.distinct().subquery()))
    return (imported or 0) + (own or 0)


def exist(session: Session, project_id: int, split: Split | None = None) -> bool:
    """Return whether there is a demonstration."""
    sources = _sources(session, project_id, split)
    return any(session.execute(query.limit(1)).first() is not None for query in sources)


def _sources(
    session: Session, project_id: int, split: Split | None
) -> tuple[Select[int], Select[int, str | None]]:
    """Return the queries for demonstrations of files and of labelers."""
    in_split = [] if split is None else [Prompt.split == split]
    of_files = (
        select(Demonstration.id)
        .join(Prompt, Prompt.id == Demonstration.prompt_id)
        .where(Demonstration.project_id == project_id, *in_split)
    )
    by_labelers = (
        select(Comparison.prompt_id, Judgment.text)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(*_counts(session, project_id, None), *in_split)
    )
    return of_files, by_labelers


def _counts(session: Session, project_id: int, as_of: datetime | None) -> list[ColumnElement[bool]]:
    """Return the conditions for a judgment to be a demonstration."""
    return [
        counted_judgments.has_text(session, project_id),
        Judgment.kind.in_(WRITTEN_KINDS),
        counted_judgments.counts(as_of=as_of),
        Comparison.purpose == Purpose.TRAIN,
        ~exists().where(
            Demonstration.prompt_id == Comparison.prompt_id, Demonstration.text == Judgment.text
        ),
    ]


def _prompt_text(prompt: Prompt) -> DatasetPrompt:
    return DatasetPrompt(
        prompt.id, tuple(prompt.messages), Split(prompt.split), prompt.content_hash, prompt.source
    )
