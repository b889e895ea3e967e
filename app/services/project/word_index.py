"""Conditions that a prompt or a completion contains the words of a search, by the word indexes.

A text contains a search if it contains all of its terms (`search_words.parse`).
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    column,
    false,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.orm import Session

from app.domain.search_words import SearchTerm
from app.models import Completion, Prompt

Searched = type[Prompt] | type[Completion]


def contains(session: Session, model: Searched, terms: Sequence[SearchTerm]) -> ColumnElement[bool]:
    """Return the condition that a row's text contains all terms; none contains an empty search."""
    if not terms:
        return false()
    if session.get_bind().dialect.name == "sqlite":
        index = f"{model.__tablename__}_words"
        match: ColumnElement[bool] = literal_column(index).op("MATCH")(_fts5(terms))
        return model.id.in_(select(column("rowid")).select_from(table(index)).where(match))
    # The planner chooses between the index and the newest rows by the words themselves, which a
    # prepared statement would hide from it.
    wanted: Any = bindparam(None, _tsquery(terms), literal_execute=True)
    return _vector(model).op("@@")(func.to_tsquery(literal_column("'simple'"), wanted))


def ids_of(
    session: Session,
    model: Searched,
    project_id: int,
    terms: Sequence[SearchTerm],
    *,
    most: int,
) -> list[int] | None:
    """Return the ids of the rows that contain the terms; None if there are more than `most`."""
    ids = list(session.scalars(select_ids(session, model, project_id, terms).limit(most + 1)))
    return ids if len(ids) <= most else None


def select_ids(
    session: Session, model: Searched, project_id: int, terms: Sequence[SearchTerm]
) -> Select[int]:
    """Return the statement that selects the ids of the rows that contain the terms."""
    return select(model.id).where(model.project_id == project_id, contains(session, model, terms))


def _vector(model: Searched) -> ColumnElement[Any]:
    if model is Prompt:
        return func.attune_words_of_messages(Prompt.messages)
    return func.attune_words(Completion.text)


def _tsquery(terms: Sequence[SearchTerm]) -> str:
    """Write terms in the language of PostgreSQL; words consist of letters and digits only."""

    def of(term: SearchTerm) -> str:
        return " <-> ".join(f"'{word}'" for word in term.words) + (":*" if term.is_prefix else "")

    return " & ".join(f"({of(term)})" for term in terms)


def _fts5(terms: Sequence[SearchTerm]) -> str:
    """Write terms in the language of FTS5."""
    return " AND ".join(
        f'"{" ".join(term.words)}"' + (" *" if term.is_prefix else "") for term in terms
    )
