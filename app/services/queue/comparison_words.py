"""Finds the newest comparisons, or assignments of them, that contain the words of a search.

The oldest ones too, where a list has them first; "newest" is then to be read as "oldest".

A comparison contains a search if its prompt or one of its completions does. If few texts of the
project contain it, their comparisons are collected through the indexes. Otherwise the newest
comparisons are read until enough of them contain it; if that takes too long, all are collected.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest, nsmallest

from sqlalchemy import ColumnElement, Select, literal_column, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import SQLCoreOperations

from app.domain import search_words
from app.domain.search_words import SearchTerm
from app.models import Comparison, ComparisonCompletion, Completion, Prompt
from app.services.project import word_index

FEW = 1_000  # texts
BATCHES = (100, 400, 1_500)  # comparisons that are read before all are collected

RowKeys = Select[int, int, int]  # key, comparison, prompt


@dataclass(frozen=True, slots=True)
class SearchedRows:
    """Rows that join a comparison, and the key that they are listed by, newest or oldest first.

    `after` is the key after which the list begins, in its order.
    """

    key: InstrumentedAttribute[int]
    select: RowKeys
    after: int | None
    is_ascending: bool = False

    @property
    def remaining(self) -> RowKeys:
        """The statement that selects those after `after`, in no order."""
        if self.after is None:
            return self.select
        is_later = self.key > self.after if self.is_ascending else self.key < self.after
        return self.select.where(is_later)

    @property
    def listed(self) -> RowKeys:
        """The statement that lists them."""
        return self.remaining.order_by(self.by(self.key))

    def by(self, key: SQLCoreOperations[int]) -> ColumnElement[int]:
        """Return what the statement of a list is ordered by."""
        return key.asc() if self.is_ascending else key.desc()

    def first(self, limit: int, keys: Iterable[int]) -> list[int]:
        """Return the first of some keys, in the order of the list."""
        return nsmallest(limit, keys) if self.is_ascending else nlargest(limit, keys)


def newest(
    session: Session,
    project_id: int,
    rows: SearchedRows,
    terms: Sequence[SearchTerm],
    *,
    limit: int,
) -> list[int]:
    """Return the keys of the newest rows that contain the terms."""
    if not terms:
        return []
    prompt_ids = word_index.ids_of(session, Prompt, project_id, terms, most=FEW)
    completion_ids = word_index.ids_of(session, Completion, project_id, terms, most=FEW)
    if prompt_ids is not None and completion_ids is not None:
        return _collected(session, rows, prompt_ids, completion_ids, limit)
    keys = _read(session, rows, terms, limit)
    if keys is not None:
        return keys
    all_prompts = _all_ids(session, Prompt, project_id, terms)
    all_completions = _all_ids(session, Completion, project_id, terms)
    return _collected(session, rows, all_prompts, all_completions, limit)


def matching(session: Session, rows: RowKeys, terms: Sequence[SearchTerm]) -> list[int]:
    """Return the keys of those rows that contain the terms; each is read."""
    return _Reader(session, terms).matching(_fetched(session, rows))


def _read(
    session: Session, rows: SearchedRows, terms: Sequence[SearchTerm], limit: int
) -> list[int] | None:
    """Read the newest rows in batches; return None if they are not enough to tell."""
    reader = _Reader(session, terms)
    keys: list[int] = []
    for size in BATCHES:
        batch = _fetched(session, rows.listed.limit(size))
        keys += reader.matching(batch)
        if len(keys) >= limit or len(batch) < size:
            return keys[:limit]
        rows = replace(rows, after=batch[-1][0])
    return None


def _fetched(session: Session, rows: RowKeys) -> list[tuple[int, int, int]]:
    return [(key, comparison, prompt) for key, comparison, prompt in session.execute(rows)]


def _all_ids(
    session: Session, model: word_index.Searched, project_id: int, terms: Sequence[SearchTerm]
) -> Select[int]:
    """Return a statement for all ids that PostgreSQL runs once, not again for each comparison."""
    found = word_index.select_ids(session, model, project_id, terms).cte(f"{model.__name__}_ids")
    return select(found.prefix_with("MATERIALIZED", dialect="postgresql").c.id)


def _collected(
    session: Session,
    rows: SearchedRows,
    prompt_ids: Iterable[int] | Select[int],
    completion_ids: Iterable[int] | Select[int],
    limit: int,
) -> list[int]:
    """Return the newest keys of the prompts and completions; each leg is limited by itself."""
    members = select(ComparisonCompletion.comparison_id).where(
        ComparisonCompletion.completion_id.in_(completion_ids)
    )
    legs: list[ColumnElement[bool]] = []
    if prompt_ids != []:
        legs.append(Comparison.prompt_id.in_(prompt_ids))
    if completion_ids != []:
        legs.append(Comparison.id.in_(members))
    keys: set[int] = set()
    for leg in legs:
        # Matches may all be old, so PostgreSQL must not look for them from the newest row on:
        # an offset keeps it from planning the inner statement for the limit of the outer one.
        every = rows.remaining.where(leg).with_only_columns(
            rows.key.label("key"), maintain_column_froms=True
        )
        found = every.offset(literal_column("0")).subquery()
        first = select(found.c.key).order_by(rows.by(found.c.key)).limit(limit)
        keys.update(session.scalars(first))
    return rows.first(limit, keys)


@dataclass(slots=True)
class _Reader:
    """Tells which comparisons contain the terms, and reads each text once."""

    session: Session
    terms: Sequence[SearchTerm]
    prompts: dict[int, bool] = field(default_factory=dict)
    completions: dict[int, bool] = field(default_factory=dict)

    def matching(self, rows: Sequence[tuple[int, int, int]]) -> list[int]:
        """Return the keys of the rows whose comparison contains the terms."""
        self._read_prompts({prompt_id for _, _, prompt_id in rows} - self.prompts.keys())
        rest = [comparison for _, comparison, prompt in rows if not self.prompts[prompt]]
        found = self._by_completion(rest)
        return [
            key for key, comparison, prompt in rows if self.prompts[prompt] or comparison in found
        ]

    def _read_prompts(self, ids: Collection[int]) -> None:
        query = select(Prompt.id, Prompt.messages).where(Prompt.id.in_(ids))
        for prompt_id, messages in self.session.execute(query):
            text = "\n".join(str(message.get("content", "")) for message in messages)
            self.prompts[prompt_id] = search_words.is_match(self.terms, text)

    def _by_completion(self, comparison_ids: Collection[int]) -> set[int]:
        members = self.session.execute(
            select(ComparisonCompletion.comparison_id, ComparisonCompletion.completion_id).where(
                ComparisonCompletion.comparison_id.in_(comparison_ids)
            )
        ).all()
        new = {completion_id for _, completion_id in members} - self.completions.keys()
        query = select(Completion.id, Completion.text).where(Completion.id.in_(new))
        for completion_id, text in self.session.execute(query):
            self.completions[completion_id] = search_words.is_match(self.terms, text)
        return {comparison for comparison, completion in members if self.completions[completion]}
