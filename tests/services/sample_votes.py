"""Comparisons and votes, made quickly for tests."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.states import AssignmentState, SlotState
from app.formats.manifest import Counts
from app.models import (
    Assignment,
    Comparison,
    Completion,
    Judgment,
    Project,
    Prompt,
    Role,
    Split,
    User,
)
from app.services.datasets import export_rows, preferences
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import (
    Aggregate,
    ExportOptions,
    JudgedComparison,
)
from app.services.judging import revisions
from app.services.people import accounts
from app.services.project import projects, prompts
from app.services.queue import comparisons

_numbers: Iterator[int] = count(1)


def make_project(session: Session, labelers: int = 3, **options: Any) -> tuple[Project, list[User]]:
    """Make a project with a lead and some labelers."""
    number = next(_numbers)
    owner = accounts.create_user(
        session, email=f"owner{number}@example.org", name="Owner", password=None
    )
    project = projects.create(session, name=f"Desk {number}", owner=owner, **options)
    people = [
        accounts.create_user(
            session, email=f"l{at}-{number}@example.org", name=f"Labeler {at}", password=None
        )
        for at in range(labelers)
    ]
    for one in people:
        accounts.add_member(session, project.id, one.id, Role.LABELER, actor_id=None)
    return project, people


def make_comparison(
    session: Session, project: Project, texts: tuple[str, ...] = ("good", "bad"), **options: Any
) -> Comparison:
    """Put completions of a new train prompt to labelers, in the order given."""
    number = next(_numbers)
    given = prompts.NewPrompt((("user", f"Question {number}?"),))
    prompt: Prompt = prompts.add(session, project, [given]).prompts[0]
    prompt.split = Split.TRAIN
    completions = [
        Completion(
            project_id=project.id,
            prompt_id=prompt.id,
            source="test",
            source_key="test",
            sample_index=at,
            text=text,
            sampling={},
            created_at=now(session),
        )
        for at, text in enumerate(texts)
    ]
    session.add_all(completions)
    session.flush()
    return comparisons.create(
        session,
        project,
        prompt.id,
        [one.id for one in completions],
        natural_key=f"test-{number}",
        seed=number,
        **options,
    )


def vote(
    session: Session,
    comparison: Comparison,
    labeler: User,
    *,
    version: int = 1,
    shown_order: tuple[int, ...] = (0, 1),
    active_ms: int = 5000,
    **said: Any,
) -> Judgment:
    """Judge a comparison; `said` speaks of canonical positions."""
    slot_id = comparisons.take_slot(session, comparison, SlotState.DONE)
    assert slot_id is not None
    moment = now(session)
    assignment = Assignment(
        project_id=comparison.project_id,
        comparison_id=comparison.id,
        slot_id=slot_id,
        labeler_id=labeler.id,
        lease_token="test",
        state=AssignmentState.SUBMITTED,
        shown_order=list(shown_order),
        leased_at=moment,
        expires_at=moment,
        ended_at=moment,
    )
    session.add(assignment)
    session.flush()
    columns: dict[str, Any] = {
        "preferred": None,
        "ranking": None,
        "strength": None,
        "both_bad": False,
        "flags": [],
        "comment": "",
    }
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        f"test-{comparison.id}-{labeler.id}",
        moment,
        body_hash="",
        started_at=moment,
        active_ms=active_ms,
        **(columns | said),
    )
    judgment.guidelines_version = version
    session.flush()
    return judgment


def judged_rows(
    session: Session, project_id: int, options: ExportOptions, counts: Counts
) -> Iterator[JudgedComparison]:
    """Read every page of the comparisons that the options ask for."""
    after: int | None = 0
    while after is not None:
        page = preferences.read_page(session, project_id, options, counts, after=after)
        yield from page.rows
        after = page.after


def exported(database: Database, slug: str, format: str) -> list[dict[str, Any]]:
    """Return the rows of an export, each vote for itself."""
    with database.reader() as session:
        project = projects.by_slug(session, slug)
        account, options = Account(), ExportOptions(aggregate=Aggregate.EACH_VOTE)
        found = judged_rows(session, project.id, options, account.counts)
        return [json.loads(one) for one in export_rows.write(found, format, options, account)]
