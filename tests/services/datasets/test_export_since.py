"""Incremental exports: a comparison that was judged, revised, retracted or settled since then."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.db import Database, now
from app.errors import Invalid
from app.formats.manifest import Counts
from app.models import Adjudication, Comparison, Judgment, Purpose
from app.services.datasets import export_moments, export_since, preferences
from app.services.datasets.judged_comparisons import ExportOptions
from tests.services import sample_votes
from tests.services.sample_votes import make_comparison, make_project, vote

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, None)),
        (None, (None, None)),
        (3, (None, 3)),
        (" 12 ", (None, 12)),
        ("2026-03-01T12:00Z", (MOMENT, None)),
        ("2026-03-01T13:00+01:00", (MOMENT, None)),
        ("2026-03-01 12:00", (MOMENT, None)),
        (MOMENT, (MOMENT, None)),
    ],
)
def test_a_moment_is_a_time_or_the_number_of_an_export(
    text: object, expected: tuple[datetime | None, int | None]
) -> None:
    assert export_moments.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["yesterday", "²", "-1", "2026-13-01", "1" * 30, "0001-01-01T00:00+14:00"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="since is a time, such as"):
        export_moments.parse(text)


def test_the_number_of_an_export_is_checked() -> None:
    for number in ("x", "2026-03-01", [1], ""):
        with pytest.raises(Invalid, match="since"):
            ExportOptions.from_json({"since_export": number})


def test_options_survive_their_json() -> None:
    options = ExportOptions(since=MOMENT, since_export=4)
    assert ExportOptions.from_json(options.to_json()) == options


def since(session: Session, project_id: int) -> tuple[list[int], int]:
    options, counts = ExportOptions(since=MOMENT), Counts()
    preferences.count_outside(session, project_id, options, counts)
    rows = sample_votes.judged_rows(session, project_id, options, counts)
    assert counts.judgments.considered == counts.comparisons.considered  # one each
    return [row.comparison_id for row in rows], counts.comparisons.excluded[export_since.UNCHANGED]


def test_what_is_outside_keeps_its_own_reason(session: Session) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project, purpose=Purpose.EVALUATION)
    vote(session, comparison, people[0], preferred="a")
    make_comparison(session, project)
    options, counts = ExportOptions(since=MOMENT + timedelta(days=9_000)), Counts()
    preferences.count_outside(session, project.id, options, counts)
    assert counts.comparisons.excluded == {"purpose evaluation": 1, export_since.UNCHANGED: 1}
    assert counts.judgments.excluded == {"purpose evaluation": 1}


def test_only_comparisons_with_something_newer_are_exported(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        made = [make_comparison(session, project) for _ in range(4)]
        votes = [vote(session, comparison, people[0], preferred="a") for comparison in made]
        for comparison in made:
            comparison.created_at = MOMENT - timedelta(days=1)
        for judgment in votes:
            judgment.submitted_at = MOMENT
        session.flush()
        assert since(session, project.id) == ([], 4)
        votes[1].submitted_at = MOMENT + timedelta(seconds=1)
        _settle(session, made[2])
        session.flush()
        assert since(session, project.id) == ([made[1].id, made[2].id], 2)
        made[3].created_at = MOMENT + timedelta(seconds=1)  # its vote names an earlier time
        session.flush()
        assert since(session, project.id) == ([one.id for one in made[1:]], 1)


def test_a_changed_judgment_counts_as_new(session: Session) -> None:
    project, people = make_project(session)
    comparison = make_comparison(session, project)
    judgment = vote(session, comparison, people[0], preferred="a")
    comparison.created_at = judgment.submitted_at = MOMENT - timedelta(days=1)
    judgment.is_current = False
    session.flush()
    names = (column.name for column in Judgment.__table__.columns)
    copied = {name: getattr(judgment, name) for name in names if name != "id"}
    changes = {"revision": 2, "is_current": True, "submitted_at": now(session), "preferred": "b"}
    session.add(Judgment(**copied | changes | {"submission_key": "again"}))
    session.flush()
    assert since(session, project.id) == ([comparison.id], 0)


def _settle(session: Session, comparison: Comparison) -> None:
    session.add(
        Adjudication(
            project_id=comparison.project_id,
            comparison_id=comparison.id,
            adjudicator_id=session.query(Judgment).first().labeler_id,  # type: ignore[union-attr]
            preferred="b",
            reason="rule",
            guidelines_version=1,
            created_at=MOMENT + timedelta(seconds=1),
        )
    )
