"""A corrected or extended file holds the votes of the same people, not of more people."""

import io

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.models import ImportRun, Judgment, Membership, Project
from app.services.datasets import imports
from tests.services.datasets.test_imports import count, make_project

HEAD = "prompt;response_a;response_b;winner\n"
ROWS = [f"Question {n}?;Yes {n}.;No {n}.;{'ab'[n % 2]}\n" for n in range(6)]
BROKEN = [*ROWS[:5], "Question 5?;Yes 5.;No 5.;perhaps\n"]


def take(
    session: Session, project: Project, rows: list[str], same: bool | None = None
) -> ImportRun:
    file = io.BytesIO((HEAD + "".join(rows)).encode())
    return imports.run(session, project, file, filename="umfrage.csv", same_labelers=same)


def labelers(session: Session) -> int:
    query = select(func.count(func.distinct(Judgment.labeler_id)))
    return session.scalar(query) or 0


def test_corrected_file_adds_the_corrected_row_for_the_same_labeler(database: Database) -> None:
    with database.transaction() as session:
        project = make_project(session)
        assert take(session, project, BROKEN).counts["judgments_new"] == 5
        run = take(session, project, ROWS)
        assert (run.counts["judgments_new"], labelers(session)) == (1, 1)
        (remark,) = run.remarks
        assert "5 of 6 votes without a labeler’s name repeat" in remark
        assert "“umfrage.csv”: they count as votes of the same labelers" in remark
        # A third version, and the same again, still are of the same labeler.
        grown = [*ROWS, "Question 6?;Yes.;No.;a\n"]
        assert take(session, project, grown).counts["judgments_new"] == 1
        assert take(session, project, grown).counts["judgments_new"] == 0
        assert labelers(session) == 1
        assert count(session, Membership) == 2


def test_other_labelers_may_be_chosen(database: Database) -> None:
    with database.transaction() as session:
        project = make_project(session)
        take(session, project, BROKEN)
        run = take(session, project, ROWS, same=False)
        assert (run.counts["judgments_new"], labelers(session), run.remarks) == (6, 2, [])
        # The file is known under a name of its own from now on.
        assert take(session, project, ROWS).counts["judgments_new"] == 0


def test_votes_that_contradict_are_of_other_labelers_unless_chosen(database: Database) -> None:
    rows = [*ROWS[:5], ROWS[5], "Question 6?;Yes.;No.;a\n"]
    rows[0] = "Question 0?;Yes 0.;No 0.;b\n"
    with database.transaction() as session:
        project = make_project(session)
        take(session, project, ROWS)
        same = take(session, project, rows, same=True)
        assert (same.counts["judgments_new"], same.counts["rejected"]) == (1, 1)
        assert labelers(session) == 1
        other = take(session, project, rows)
        assert labelers(session) == 2
        assert "1 contradict" in other.remarks[0]
        assert "votes of other labelers" in other.remarks[0]


@pytest.mark.parametrize(("again", "people"), [(2, 2), (3, 1)])
def test_at_least_half_of_the_votes_must_repeat(
    database: Database, again: int, people: int
) -> None:
    with database.transaction() as session:
        project = make_project(session)
        take(session, project, ROWS[:3])
        new = [f"Other {n}?;Yes.;No.;a\n" for n in range(6 - again)]
        run = take(session, project, [*new, *ROWS[:again]])
        assert labelers(session) == people
        assert f"{again} of 6 votes" in run.remarks[0]


def test_file_without_repeats_says_nothing_unless_the_same_labelers_were_chosen(
    database: Database,
) -> None:
    with database.transaction() as session:
        project = make_project(session)
        take(session, project, ROWS[:3])
        assert take(session, project, ROWS[3:5]).remarks == []
        (remark,) = take(session, project, ROWS[5:], same=True).remarks
        assert remark.startswith("No vote without a labeler’s name repeats")
