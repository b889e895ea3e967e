"""An import stores many rows at once; they are the rows that the services store one by one."""

import hashlib
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session

from app.db import Base, Database, now
from app.domain.judgment_kinds import KINDS, JudgmentKind, OrderBody
from app.domain.ranking import Ranking
from app.domain.splits import content_hash, split_of
from app.domain.states import AssignmentState, SlotState
from app.formats import registry
from app.formats.records import ComparisonRecord, VoteRecord
from app.models import (
    Assignment,
    AuditEvent,
    Comparison,
    ComparisonCompletion,
    Completion,
    Criterion,
    Judgment,
    Membership,
    Project,
    Prompt,
    Role,
    Slot,
    User,
)
from app.services.datasets import imported_labelers, imported_votes, imports
from app.services.judging import revisions
from app.services.people import accounts, audit
from app.services.project import criteria, prompts
from app.services.queue import comparisons
from tests.services.datasets.test_imports import lines, make_project

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLES: tuple[type[Base], ...] = (
    *(Prompt, Completion, Comparison, ComparisonCompletion, Slot, Assignment, Judgment),
    *(User, Membership, Criterion),
)
ASKED = [{"role": "user", "content": "When is it open?"}]
WHOLE = {
    "strength": 3,
    "flags": ["unsafe"],
    "comment": "Hm.",
    "shown_order": [1, 0],
    "guidelines_version": 2,
    "started_at": "2026-02-01T10:00:00+00:00",
    "submitted_at": "2026-02-01T10:01:00+00:00",
    "active_ms": 41_000,
    "margin": 1.5,
}
ROWS: list[dict[str, Any]] = [
    {
        "completions": [{"text": "Nine.", "source": "m1"}, {"text": "Ten."}],
        "individual_preference": [
            {"labeler": "ann", "ranking": [1, 2], **WHOLE},
            {"labeler": "bob@example.org", "ranking": [1, 1]},
            {"labeler": "cy", "ranking": None, "both_bad": True},
        ],
    },
    {
        "completions": [{"text": "Nine."}, {"text": "Ten."}, {"text": "At dawn."}],
        "individual_preference": [{"labeler": "ann", "ranking": [2, 1, 2]}],
    },
    {
        "kind": "rate",
        "weights": {"kind": 1.0, "true": 3.0},
        "completions": [{"text": "Nine."}, {"text": "Ten."}],
        "individual_preference": [
            {"labeler": "ann", "ratings": {"kind": [1, 5], "true": [4, 2]}, "ranking": [1, 2]}
        ],
    },
    {
        "kind": "thumbs",
        "completions": [{"text": "Nine."}],
        "individual_preference": [{"labeler": "cy", "thumb": "down", "reasons": ["wrong"]}],
    },
    {
        "kind": "write",
        "completions": [],
        "individual_preference": [{"labeler": "ann", "text": "At nine, from Monday."}],
    },
    {
        "context": [{"role": "system", "content": "Be brief."}, *ASKED],
        "completions": [{"text": "Nine."}, {"text": "Ten."}],
        "individual_preference": [],
    },
]
FILE = "".join(json.dumps({"context": ASKED} | row) + "\n" for row in ROWS).encode()


@pytest.fixture
def databases(sqlite_template: Path, tmp_path: Path) -> Iterator[list[Database]]:
    """Provide two SQLite databases in the same state, and a clock that stands still."""
    urls = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.sqlite3"
        path.write_bytes(sqlite_template.read_bytes())
        urls.append(f"sqlite:///{path}")
    opened = [Database(url, clock=lambda: NOW) for url in urls]
    yield opened
    for database in opened:
        database.dispose()


def test_a_batch_stores_the_rows_that_the_services_store(databases: list[Database]) -> None:
    in_batch, one_by_one = databases
    with in_batch.transaction() as session:
        run = imports.run(session, make_project(session), io.BytesIO(FILE), filename="f.jsonl")
        assert (run.rejects, run.counts["judgments_new"]) == ([], 7)
    with one_by_one.transaction() as session:
        project = make_project(session)
        for _, record in registry.outcomes([FILE]):
            assert isinstance(record, ComparisonRecord)
            _store(session, project, record)
    for table in TABLES:
        assert contents(in_batch, table) == contents(one_by_one, table), table


@pytest.mark.services
def test_both_kinds_of_database_get_the_same_rows(
    databases: list[Database], postgres_url: str
) -> None:
    postgres = Database(postgres_url, clock=lambda: NOW)
    for database in (postgres, databases[0]):
        with database.transaction() as session:
            imports.run(session, make_project(session), io.BytesIO(FILE), filename="f.jsonl")
    for table in TABLES:
        assert values(postgres, table) == values(databases[0], table), table
    postgres.dispose()


def contents(database: Database, table: type[Base]) -> list[Any]:
    """Return what is stored, which tells a JSON null from a missing value."""
    columns = [cast(column, String) for column in table.__table__.c]
    with database.reader() as session:
        return sorted(map(str, session.execute(select(*columns)).all()))


def values(database: Database, table: type[Base]) -> list[Any]:
    with database.reader() as session:
        return sorted(map(str, session.execute(select(*table.__table__.c)).all()))


def _store(session: Session, project: Project, record: ComparisonRecord) -> None:
    """Store a comparison and its votes as an import did when it stored each row by itself."""
    turns = [(turn.role, turn.content) for turn in record.messages]
    digest = content_hash(turns)
    prompt = session.scalar(select(Prompt).where(Prompt.content_hash == digest)) or Prompt(
        project_id=project.id,
        messages=[{"role": role, "content": content} for role, content in turns],
        follow_up=[],
        split=split_of(digest),
        content_hash=digest,
        source="f.jsonl",
        created_at=now(session),
    )
    session.add(prompt)
    session.flush()
    ids = tuple(_completion(session, prompt, each.text, each.source) for each in record.candidates)
    order_kind = JudgmentKind.PICK if len(ids) == 2 else JudgmentKind.RANK
    kind = JudgmentKind(record.kind) if record.kind else order_kind
    comparison = comparisons.create(
        session,
        project,
        prompt.id,
        ids,
        kind=kind,
        natural_key=imported_votes.natural_key(kind, prompt.id, ids),
        seed=project.split_seed,
        priority=imported_votes.BEHIND_ROUNDS,
        overlap=len(record.votes) or None,
    )
    order = [completion.id for completion in comparisons.completions_of(session, comparison.id)]
    places = [ids.index(completion_id) for completion_id in order]
    rated = {name for vote in record.votes for name in vote.ratings or ()}
    if rated:
        criteria.note(session, project, {(name, None): record.weights[name] for name in rated})
    for vote in record.votes:
        _vote(session, comparison, vote, _labeler(session, project, vote.labeler), places)


def _completion(session: Session, prompt: Prompt, text: str, source: str | None) -> int:
    known = session.scalar(
        select(Completion.id).where(Completion.prompt_id == prompt.id, Completion.text == text)
    )
    if known is not None:
        return known
    completion = Completion(
        project_id=prompt.project_id,
        prompt_id=prompt.id,
        source=source or "f.jsonl",
        source_key=f"file-{prompts.text_hash(text)}",
        sample_index=0,
        text=text,
        finish_reason="imported",
        sampling={},
        created_at=now(session),
    )
    session.add(completion)
    session.flush()
    return completion.id


def _labeler(session: Session, project: Project, name: str) -> int:
    digest = hashlib.sha256(name.encode()).hexdigest()
    email = f"import-{project.id}-{digest[:16]}@{imported_labelers.DOMAIN}"
    known = session.scalar(select(User.id).where(User.email == email))
    if known is not None:
        return known
    shown = f"Imported {digest[:6] if '@' in name else name}"
    user = accounts.create_user(session, email=email, name=shown, password=None)
    user.is_active = False
    member = accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    member.is_paused = True
    session.flush()
    return user.id


def _vote(
    session: Session, comparison: Comparison, vote: VoteRecord, labeler: int, places: list[int]
) -> None:
    submitted = vote.submitted_at or now(session)
    assignment = Assignment(
        project_id=comparison.project_id,
        comparison_id=comparison.id,
        slot_id=comparisons.take_slot(session, comparison, SlotState.DONE),
        labeler_id=labeler,
        lease_token="import",
        state=AssignmentState.SUBMITTED,
        shown_order=[places.index(at) for at in vote.shown_order],
        leased_at=vote.started_at or submitted,
        expires_at=submitted,
        ended_at=submitted,
    )
    session.add(assignment)
    session.flush()
    said: dict[str, Any] = dict.fromkeys(("preferred", "ranking", "ratings", "strength", "margin"))
    body = KINDS[comparison.kind].body
    if issubclass(body, OrderBody):
        ranking = vote.ranking and Ranking(tuple(vote.ranking.ranks[at] for at in places))
        order = body.of_ranking(ranking, both_bad=vote.both_bad or ranking is None)
        said |= order.to_json() | {"strength": vote.strength, "margin": vote.margin}
    elif vote.ratings:
        said["ratings"] = {name: [of[at] for at in places] for name, of in vote.ratings.items()}
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        imported_key(comparison.id),
        submitted,
        flags=list(vote.flags),
        comment=vote.comment,
        body_hash="",
        started_at=vote.started_at or submitted,
        active_ms=vote.active_ms or 0,
        thumb=vote.thumb,
        reasons=list(vote.reasons),
        text=vote.text,
        instruction_version=0,
        **said,
    )
    judgment.guidelines_version = vote.guidelines_version or 0


def imported_key(comparison_id: int) -> str:
    return hashlib.sha256(f"import:{comparison_id}".encode()).hexdigest()


def test_a_vote_far_from_the_others_takes_an_open_slot_or_adds_one(any_database: Database) -> None:
    row = {"context": ASKED, "completions": [{"text": "Nine."}, {"text": "Ten."}]}

    def votes(*names: str) -> io.BytesIO:
        given = [{"labeler": name, "ranking": [1, 2]} for name in names]
        return io.BytesIO(json.dumps(row | {"individual_preference": given}).encode())

    with any_database.transaction() as session:
        project = make_project(session, overlap=2)
        for file in (votes(), votes("ann"), votes("bob", "cy")):
            imports.run(session, project, file, filename="f.jsonl")
    with any_database.reader() as session:
        comparison = session.scalars(select(Comparison)).one()
        counted = (comparison.overlap, comparison.open_slots, comparison.done_slots)
        assert (*counted, comparison.is_open) == (3, 0, 3, False)
        assert session.scalars(select(Slot.state)).all() == [SlotState.DONE] * 3
        assert session.scalars(select(Slot.n).order_by(Slot.n)).all() == [0, 1, 2]
        assert session.scalar(select(func.count(func.distinct(Assignment.slot_id)))) == 3


def test_a_vote_on_a_withdrawn_comparison_is_kept_and_opens_nothing(any_database: Database) -> None:
    row = {"context": ASKED, "completions": [{"text": "Nine."}, {"text": "Ten."}]}
    vote = {"labeler": "ann", "ranking": [1, 2]}
    with any_database.transaction() as session:
        project = make_project(session, overlap=2)
        for votes in ([], [vote]):
            file = io.BytesIO(json.dumps(row | {"individual_preference": votes}).encode())
            run = imports.run(session, project, file, filename="f.jsonl")
            comparison = session.scalars(select(Comparison)).one()
            if not comparison.is_withdrawn:
                comparisons.withdraw(session, comparison.id)
        assert (run.rejects, run.counts["judgments_new"]) == ([], 1)
        assert (comparison.open_slots, comparison.done_slots, comparison.is_open) == (0, 1, False)


def test_many_labelers_of_a_file_are_added_at_once(any_database: Database) -> None:
    row = {"context": ASKED, "completions": [{"text": "Nine."}, {"text": "Ten."}]}
    rows = [
        row | {"individual_preference": [{"labeler": f"user {n}", "ranking": [1, 2]}]}
        for n in range(1500)
    ]
    with any_database.transaction() as session:
        project = make_project(session)
        run = imports.run(session, project, lines(*rows), filename="f.jsonl")
        assert (run.counts["judgments_new"], run.rejects) == (1500, [])
        pseudonyms = session.scalars(select(Membership.pseudonym).order_by(Membership.id)).all()
        assert pseudonyms == [f"L{n}" for n in range(1, 1502)]  # the owner is the first member
        actions = list(session.scalars(select(AuditEvent.action)))
        assert 1 <= actions.count("import.labelers") <= 15
        assert audit.broken_at(session) is None
