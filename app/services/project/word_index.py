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
    literal,
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
    return model.id.in_(_matching(session, model, terms))


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
    if not terms or session.get_bind().dialect.name == "sqlite":
        of_project = model.project_id == project_id
        return select(model.id).where(of_project, contains(session, model, terms))
    # Without a join, a limit ends the search as soon as it is reached.
    of_project = column("project_id") == literal(project_id)
    return _matching(session, model, terms).where(of_project)


def _matching(session: Session, model: Searched, terms: Sequence[SearchTerm]) -> Select[int]:
    """Return the statement that selects the ids of what contains the terms, in any project."""
    index = f"{model.__tablename__}_words"
    if session.get_bind().dialect.name == "sqlite":
        found: ColumnElement[bool] = literal_column(index).op("MATCH")(_fts5(terms))
        return select(column("rowid", model.id.type)).select_from(table(index)).where(found)
    # The planner chooses between the index and the newest rows by the words themselves, which a
    # prepared statement would hide from it.
    wanted: Any = bindparam(None, _tsquery(terms), literal_execute=True)
    words = table(index, column("id", model.id.type), column("words"), column("project_id"))
    match = words.c.words.op("@@")(func.to_tsquery(literal_column("'simple'"), wanted))
    return select(words.c.id).where(match)


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
