"""Fills an empty database with a project of any number of judgments by fifty labelers.

Unlike `seed`, which prepares work to be done, this is work that has been done: rounds, ties,
strengths, two versions of the guidelines, flags, repeats of a few labelers' habits, and a queue
that is not yet empty. Rows are written by COPY on PostgreSQL and in bulk on SQLite, from a seeded
generator, so two databases of one size hold the same data.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import numpy as np
from sqlalchemy import func, select, text

from app.bench.seed import ANSWER, SLUG, settle
from app.db import Base, Database
from app.domain.judgment_kinds import JudgmentKind
from app.domain.splits import split_of
from app.domain.states import AssignmentState, RoundState, SlotState
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Guidelines,
    Judgment,
    Prompt,
    Purpose,
    Role,
    Round,
    Slot,
)
from app.services.people import accounts
from app.services.project import projects

LABELERS = 50
OVERLAP = 3
CANDIDATES = 5  # per prompt; every two of them are compared
PAIRS = tuple(combinations(range(CANDIDATES), 2))
OPEN = 30_000  # further comparisons, which nobody has judged yet: six minutes of labeling
ROUNDS = 10
BEGIN = datetime(2026, 1, 5, 8, tzinfo=UTC)
SECONDS_APART = 4
TIE_SHARE = 0.1
FLAG_SHARE = 0.005
SUBJECTS = ("invoice", "parcel", "password", "refund", "warranty", "delivery", "account", "router")
SOURCES = ("chat.jsonl", "mail.csv", "forum.parquet", "phone.jsonl")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class JudgedProject:
    """The project, and API tokens of its lead and of its labelers."""

    project_id: int
    lead_token: str
    labeler_tokens: tuple[str, ...]
    comparisons: int
    judgments: int


@dataclass(frozen=True, slots=True)
class _Votes:
    """Who judged what, and how: arrays of one entry per judgment, in the order of submission."""

    comparison: np.ndarray[Any, np.dtype[np.int64]]  # from 0
    labeler: np.ndarray[Any, np.dtype[np.int64]]  # from 0
    choice: np.ndarray[Any, np.dtype[np.int64]]  # 0: a, 1: b, 2: about the same
    strength: np.ndarray[Any, np.dtype[np.int64]]
    swapped: np.ndarray[Any, np.dtype[np.bool_]]
    is_flagged: np.ndarray[Any, np.dtype[np.bool_]]


def seed(database: Database, judgments: int) -> JudgedProject:
    """Create a project with about this many judgments, three on each comparison."""
    judged = max(1, judgments // OVERLAP)
    comparisons = judged + OPEN
    prompts = -(-comparisons // len(PAIRS))
    project_id, lead_token, tokens, user_ids = _people(database)
    votes = _votes(judged)
    load = _Loader(database)
    load.rows(Guidelines, _GUIDELINES, _guidelines(project_id))
    load.rows(Round, _ROUND, _rounds(project_id))
    load.rows(Prompt, _PROMPT, _prompts(project_id, prompts))
    load.rows(Completion, _COMPLETION, _completions(project_id, prompts))
    load.rows(Comparison, _COMPARISON, _comparisons(project_id, comparisons, judged))
    load.rows(ComparisonCompletion, _MEMBER, _members(comparisons))
    load.rows(Slot, _SLOT, _slots(comparisons, judged))
    load.rows(Assignment, _ASSIGNMENT, _assignments(project_id, votes, user_ids))
    load.rows(Judgment, _JUDGMENT, _judgments(project_id, votes, user_ids))
    settle(database)
    return JudgedProject(project_id, lead_token, tokens, comparisons, judged * OVERLAP)


def _people(database: Database) -> tuple[int, str, tuple[str, ...], tuple[int, ...]]:
    scopes = ["label", "read", "write", "admin"]
    with database.transaction() as session:
        lead = accounts.create_user(session, email="lead@example.org", name="Lead", password=None)
        lead.is_admin = True
        project = projects.create(
            session,
            name="Bench",
            slug=SLUG,
            owner=lead,
            judgment_kind=JudgmentKind.PICK,
            overlap=OVERLAP,
        )
        lead_token = accounts.create_token(session, lead, name="bench", scopes=scopes).secret
        tokens, ids = [], []
        for number in range(LABELERS):
            user = accounts.create_user(
                session, email=f"l{number}@example.org", name=f"Labeler {number}", password=None
            )
            accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=lead.id)
            tokens.append(
                accounts.create_token(session, user, name="bench", scopes=["label"]).secret
            )
            ids.append(user.id)
        return project.id, lead_token, tuple(tokens), tuple(ids)


def _votes(judged: int) -> _Votes:
    """Draw the votes: labelers of different skill, and comparisons of different difficulty."""
    draw = np.random.default_rng(20260105)
    skill = draw.uniform(0.8, 3.0, LABELERS)
    margin = draw.normal(0.0, 1.0, judged)  # of the first completion over the second
    first = draw.integers(0, LABELERS, judged)
    step = draw.integers(1, LABELERS // OVERLAP, judged)
    comparison = np.repeat(np.arange(judged), OVERLAP)
    # Three different labelers: steps of at most a third of them never come round to the first.
    labeler = (first[:, None] + step[:, None] * np.arange(OVERLAP)).reshape(-1) % LABELERS
    # Comparisons are judged in waves, so that the votes on one of them lie apart in time.
    order = np.argsort(comparison + draw.integers(0, 300, len(comparison)), kind="stable")
    comparison, labeler = comparison[order], labeler[order]
    felt = margin[comparison] * skill[labeler] + draw.logistic(0.0, 0.6, len(comparison))
    choice = np.where(felt > 0, 0, 1)
    choice[draw.random(len(comparison)) < TIE_SHARE] = 2
    return _Votes(
        comparison,
        labeler,
        choice,
        np.clip(np.ceil(np.abs(felt)), 1, 4).astype(np.int64),
        draw.random(len(comparison)) < 0.5,
        draw.random(len(comparison)) < FLAG_SHARE,
    )


_GUIDELINES = (
    "id",
    "project_id",
    "version",
    "rules",
    "edge_cases",
    "body",
    "summary",
    "created_at",
)


def _guidelines(project_id: int) -> Iterator[Row]:
    yield (None, project_id, 2, "Prefer the response that solves the problem.", "", "", "", BEGIN)


_ROUND = ("id", "project_id", "number", "state", "plan", "reason", "created_at", "ended_at")


def _rounds(project_id: int) -> Iterator[Row]:
    for n in range(1, ROUNDS + 1):
        at = BEGIN + timedelta(days=n)
        state = RoundState.LABELING if n == ROUNDS else RoundState.PROMOTED
        yield n, project_id, n, state, {}, "", at, None if n == ROUNDS else at


_PROMPT = (
    *("id", "project_id", "messages", "follow_up", "split", "content_hash", "group_hash"),
    *("source", "source_key", "meta", "created_at"),
)


def _prompts(project_id: int, prompts: int) -> Iterator[Row]:
    for n in range(prompts):
        about = SUBJECTS[n % len(SUBJECTS)]
        content = f"My {about} number {n} has a problem, and nobody answers. What should I do?"
        digest = f"{n:064x}"
        yield (
            *(n + 1, project_id, [{"role": "user", "content": content}], []),
            *(split_of(digest), digest, digest, SOURCES[n % len(SOURCES)], "", {}, BEGIN),
        )


_COMPLETION = (
    *("id", "project_id", "prompt_id", "source", "source_key", "sample_index", "text"),
    *("is_finished", "finish_reason", "sampling", "created_at"),
)


def _completions(project_id: int, prompts: int) -> Iterator[Row]:
    for n in range(prompts * CANDIDATES):
        body = f"Answer {n}. " + ANSWER[: 40 + n * 37 % (len(ANSWER) - 40)]
        yield (
            *(n + 1, project_id, n // CANDIDATES + 1, "bench", "bench", n % CANDIDATES, body),
            *(True, "stop", {}, BEGIN),
        )


_COMPARISON = (
    *("id", "project_id", "prompt_id", "round_id", "kind", "purpose", "overlap", "priority"),
    *("open_slots", "done_slots", "is_open", "is_withdrawn", "gold_reason", "natural_key"),
    "created_at",
)


def _comparisons(project_id: int, comparisons: int, judged: int) -> Iterator[Row]:
    for n in range(comparisons):
        is_done = n < judged
        round_id = 1 + n * ROUNDS // comparisons
        yield (
            *(n + 1, project_id, n // len(PAIRS) + 1, round_id, JudgmentKind.PICK, Purpose.TRAIN),
            *(OVERLAP, 0, 0 if is_done else OVERLAP, OVERLAP if is_done else 0),
            *(not is_done, False, "", f"bench:{n}", BEGIN),
        )


_MEMBER = ("comparison_id", "position", "completion_id")


def _members(comparisons: int) -> Iterator[Row]:
    for n in range(comparisons):
        first = n // len(PAIRS) * CANDIDATES + 1
        for position, chosen in enumerate(PAIRS[n % len(PAIRS)]):
            yield n + 1, position, first + chosen


_SLOT = ("id", "comparison_id", "n", "state")


def _slots(comparisons: int, judged: int) -> Iterator[Row]:
    for n in range(comparisons * OVERLAP):
        state = SlotState.DONE if n // OVERLAP < judged else SlotState.OPEN
        yield n + 1, n // OVERLAP + 1, n % OVERLAP, state


_ASSIGNMENT = (
    *("id", "project_id", "comparison_id", "slot_id", "labeler_id", "lease_token", "state"),
    *("shown_order", "leased_at", "expires_at", "ended_at", "skip_reason", "skip_comment"),
)


def _assignments(project_id: int, votes: _Votes, user_ids: Sequence[int]) -> Iterator[Row]:
    taken = np.zeros(int(votes.comparison.max()) + 1, dtype=np.int64)
    for n, (comparison, labeler, swapped) in enumerate(_cells(votes)):
        at = BEGIN + timedelta(seconds=SECONDS_APART * n)
        slot_id = comparison * OVERLAP + int(taken[comparison]) + 1
        taken[comparison] += 1
        yield (
            *(n + 1, project_id, comparison + 1, slot_id, user_ids[labeler], "bench"),
            *(AssignmentState.SUBMITTED, [1, 0] if swapped else [0, 1], at, at, at, "", ""),
        )


_JUDGMENT = (
    *("id", "project_id", "assignment_id", "comparison_id", "labeler_id", "revision"),
    *("is_current", "is_retraction", "is_surplus", "kind", "preferred", "strength", "both_bad"),
    *("reasons", "flags", "comment", "shown_order", "guidelines_version", "submission_key"),
    *("body_hash", "started_at", "submitted_at", "active_ms"),
)


def _judgments(project_id: int, votes: _Votes, user_ids: Sequence[int]) -> Iterator[Row]:
    choices, strengths = votes.choice.tolist(), votes.strength.tolist()
    flags, half = votes.is_flagged.tolist(), len(votes.comparison) // 2
    for n, (comparison, labeler, swapped) in enumerate(_cells(votes)):
        at = BEGIN + timedelta(seconds=SECONDS_APART * n)
        is_tie = choices[n] == 2
        yield (
            *(n + 1, project_id, n + 1, comparison + 1, user_ids[labeler], 1, True, False, False),
            *(JudgmentKind.PICK, ("a", "b", "tie")[choices[n]]),
            *(None if is_tie else strengths[n], False, [], ["unclear"] if flags[n] else [], ""),
            *([1, 0] if swapped else [0, 1], 1 if n < half else 2, f"bench-{n}", "", at, at),
            8000 + n % 5000,
        )


def _cells(votes: _Votes) -> Iterator[tuple[int, int, bool]]:
    yield from zip(
        votes.comparison.tolist(), votes.labeler.tolist(), votes.swapped.tolist(), strict=True
    )


class _Loader:
    """Writes rows past the ORM: by COPY on PostgreSQL, in one transaction per table on SQLite."""

    CHUNK = 20_000

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._is_postgres = self._engine.dialect.name == "postgresql"

    def rows(self, model: type[Base], columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Write rows of a table, and set its sequence past them."""
        if "id" in columns:
            rows = self._numbered(model, rows)
        values = (tuple(map(self._value, row)) for row in rows)
        if self._is_postgres:
            self._copy(model, columns, values)
        else:
            self._insert(model, columns, values)

    def _numbered(self, model: type[Base], rows: Iterable[Row]) -> Iterator[Row]:
        """Number the rows that have no id yet after those that are there."""
        with self._engine.connect() as connection:
            last = connection.scalar(select(func.max(model.__table__.c.id))) or 0
        for row in rows:
            last += 1
            yield (last, *row[1:]) if row[0] is None else row

    def _value(self, value: Any) -> Any:
        if isinstance(value, list | dict):
            return json.dumps(value)
        if isinstance(value, datetime) and not self._is_postgres:
            return value.replace(tzinfo=None).isoformat(" ", timespec="microseconds")
        return value

    def _copy(self, model: type[Base], columns: Sequence[str], rows: Iterable[Row]) -> None:
        name = model.__tablename__
        with self._engine.begin() as connection:
            with connection.begin_nested():
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            raw: Any = connection.connection.driver_connection
            with (
                raw.cursor() as cursor,
                cursor.copy(f'COPY "{name}" ({", ".join(columns)}) FROM STDIN') as copy,
            ):
                for row in rows:
                    copy.write_row(row)
            if "id" in columns:
                connection.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence(:name, 'id'), max(id)) "
                        f'FROM "{name}"'
                    ),
                    {"name": name},
                )

    def _insert(self, model: type[Base], columns: Sequence[str], rows: Iterable[Row]) -> None:
        marks = ", ".join("?" for _ in columns)
        statement = f'INSERT INTO "{model.__tablename__}" ({", ".join(columns)}) VALUES ({marks})'
        with self._engine.begin() as connection:
            raw: Any = connection.connection.driver_connection
            raw.executemany(statement, rows)
