"""Fills an empty PostgreSQL database with a project of any number of comparisons, fast.

The rows are those that the services would make, made by the server itself. The triggers of foreign
keys are left out meanwhile where the role may do that.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, insert, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import Base, Database, now
from app.domain.states import SlotState
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    JudgmentKind,
    Prompt,
    Purpose,
    Role,
    Slot,
    Split,
)
from app.services.people import accounts
from app.services.project import projects

SLUG = "bench"
OVERLAP = 3
CANDIDATES = 5  # of a prompt; each two of them are compared
PAIRS = [(a, b) for a in range(CANDIDATES) for b in range(a + 1, CANDIDATES)]
ANSWER = "Some sentences of an answer, about as long as people write them. " * 6


@dataclass(frozen=True, slots=True)
class Seeded:
    """A project ready to be labeled, and an API token for each labeler."""

    project_id: int
    tokens: tuple[str, ...]


def seed(database: Database, comparisons: int, labelers: int) -> Seeded:
    """Make a project with so many open comparisons of two, and so many labelers."""
    with database.transaction() as session:
        project_id, tokens = _people(session, labelers)
    with database.transaction() as session:
        with suppress(DBAPIError), session.begin_nested():  # not a superuser: it takes longer
            session.execute(text("SET LOCAL session_replication_role = replica"))
        _texts(session, project_id, -(-comparisons // len(PAIRS)))
        _comparisons(session, project_id, comparisons)
    settled = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with settled.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))
    return Seeded(project_id, tokens)


def _people(session: Session, labelers: int) -> tuple[int, tuple[str, ...]]:
    owner = accounts.create_user(session, email="lead@example.org", name="Lead", password=None)
    project = projects.create(
        session,
        name="Bench",
        slug=SLUG,
        owner=owner,
        judgment_kind=JudgmentKind.PICK,
        overlap=OVERLAP,
    )
    tokens = []
    for number in range(labelers):
        user = accounts.create_user(
            session, email=f"l{number}@example.org", name=f"Labeler {number}", password=None
        )
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=owner.id)
        tokens.append(accounts.create_token(session, user, name="b", scopes=["label"]).secret)
    return project.id, tuple(tokens)


def _texts(session: Session, project_id: int, prompts: int) -> None:
    common: dict[str, ColumnElement[Any]] = {
        "project_id": literal(project_id),
        "created_at": literal(now(session)),
    }
    n = func.generate_series(0, prompts - 1).column_valued("n")
    turn = func.jsonb_build_object("role", "user", "content", func.concat("Question ", n, "?"))
    _fill(
        session,
        Prompt,
        id=n + 1,
        messages=func.jsonb_build_array(turn),
        split=literal(Split.TRAIN),
        content_hash=func.lpad(func.to_hex(n), 64, "0"),
        **common,
    )
    n = func.generate_series(0, prompts * CANDIDATES - 1).column_valued("n")
    _fill(
        session,
        Completion,
        id=n + 1,
        prompt_id=n // CANDIDATES + 1,
        source=literal("bench"),
        source_key=literal("bench"),
        sample_index=n % CANDIDATES,
        text=func.concat("Answer ", n, ". ", ANSWER),
        **common,
    )


def _comparisons(session: Session, project_id: int, comparisons: int) -> None:
    n = func.generate_series(0, comparisons - 1).column_valued("n")
    _fill(
        session,
        Comparison,
        id=n + 1,
        project_id=literal(project_id),
        prompt_id=n // len(PAIRS) + 1,
        kind=literal(JudgmentKind.PICK),
        purpose=literal(Purpose.TRAIN),
        overlap=literal(OVERLAP),
        open_slots=literal(OVERLAP),
        natural_key=func.concat("bench:", n),
        created_at=literal(now(session)),
    )
    for position in (0, 1):
        chosen = case({at: pair[position] for at, pair in enumerate(PAIRS)}, value=n % len(PAIRS))
        _fill(
            session,
            ComparisonCompletion,
            comparison_id=n + 1,
            position=literal(position),
            completion_id=n // len(PAIRS) * CANDIDATES + chosen + 1,
        )
    n = func.generate_series(0, comparisons * OVERLAP - 1).column_valued("n")
    _fill(
        session,
        Slot,
        id=n + 1,
        comparison_id=n // OVERLAP + 1,
        n=n % OVERLAP,
        state=literal(SlotState.OPEN),
    )


def _fill(session: Session, table: type[Base], **columns: ColumnElement[Any]) -> None:
    # Columns that are not named get the model's own defaults.
    rows = select(*(column.label(name) for name, column in columns.items()))
    session.execute(insert(table).from_select(list(columns), rows))
    if "id" in columns:
        name = table.__tablename__
        session.execute(
            text(f"SELECT setval(pg_get_serial_sequence(:name, 'id'), max(id)) FROM {name}"),
            {"name": name},
        )
