"""Arrays that were brought up to date equal arrays that were read anew."""

import random
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.domain import krippendorff
from app.domain.judgment_kinds import JudgmentKind
from app.domain.krippendorff import narrowed
from app.models import Comparison, Judgment, Project, Prompt
from app.services.judging import corrections
from app.services.quality import judgment_reader
from app.services.quality.judgment_columns import NAMES, JudgmentColumns, compact, numbered
from app.services.queue import comparisons
from tests.services.sample_votes import make_comparison, make_project, vote

RANK = JudgmentKind.RANK


def assert_same(session: Session, project_id: int) -> JudgmentColumns:
    """Compare what is known, brought up to date, with what is read anew."""
    updated = judgment_reader.read(session, project_id)
    judgment_reader.forget()
    anew = judgment_reader.read(session, project_id)
    for name in NAMES:
        left, right = updated.arrays.column(name), anew.arrays.column(name)
        assert left.tolist() == right.tolist(), name
    assert updated.sign.tolist() == anew.sign.tolist()
    assert (updated.absolute, updated.labelers) == (anew.absolute, anew.labelers)
    assert (updated.sources, updated.categories) == (anew.sources, anew.categories)
    return anew


def test_after_any_changes_the_arrays_are_those_of_a_fresh_reading(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgment_reader, "SMALL", 0)
    monkeypatch.setattr(judgment_reader, "RECENT", 3)
    draw = random.Random(5)
    with any_database.transaction() as session:
        project, people = make_project(session, labelers=4)
        open_ones = [make_comparison(session, project) for _ in range(8)]
        open_ones.append(make_comparison(session, project, ("a", "b", "c"), kind=RANK))
    for _ in range(12):
        with any_database.transaction() as session:
            for _ in range(draw.randint(0, 3)):
                comparison = session.get_one(Comparison, draw.choice(open_ones).id)
                labeler = draw.choice(people)
                is_pick = comparison.id != open_ones[-1].id
                said: dict[str, Any] = (
                    {"preferred": draw.choice(["a", "b", "tie"])} if is_pick else {}
                )
                said |= {} if is_pick else {"ranking": [1, 2, 2], "shown_order": (2, 0, 1)}
                if comparison.open_slots and not has_judged(session, comparison.id, labeler.id):
                    vote(session, comparison, labeler, **said)
            standing = session.query(Judgment).filter_by(is_current=True, is_retraction=False)
            rows = standing.order_by(Judgment.id).all()
            if rows and draw.random() < 0.4:
                row = draw.choice(rows)
                key = f"retract-{row.id}"
                corrections.retract(
                    session, session.get_one(Project, project.id), row.labeler_id, row.id, key
                )
            if draw.random() < 0.2:
                comparisons.withdraw(session, draw.choice(open_ones).id)
        with any_database.reader() as session:
            assert_same(session, project.id)


def has_judged(session: Session, comparison_id: int, labeler_id: int) -> bool:
    found = session.query(Judgment).filter_by(comparison_id=comparison_id, labeler_id=labeler_id)
    return found.count() > 0


def test_a_judgment_that_was_committed_late_is_not_missed(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgment_reader, "SMALL", 0)
    judgment_reader.forget()
    with any_database.transaction() as session:
        project, people = make_project(session)
        comparison = make_comparison(session, project)
        early, late = (vote(session, comparison, one, preferred="a") for one in people[:2])
        early.is_current = False  # as if its transaction were still open
    with any_database.reader() as session:
        assert len(judgment_reader.read(session, project.id)) == 1
    with any_database.transaction() as session:
        session.get_one(Judgment, early.id).is_current = True
    with any_database.reader() as session:
        assert judgment_reader.read(session, project.id).arrays.id.tolist() == [early.id, late.id]


def test_rankings_and_ties_become_signs(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        pick = make_comparison(session, project)
        rank = make_comparison(session, project, ("a", "b", "c"), kind=RANK)
        vote(session, pick, people[0], preferred="b", strength=3, shown_order=(1, 0))
        vote(session, pick, people[1], preferred="tie")
        vote(session, pick, people[2], both_bad=True)
        vote(session, rank, people[0], ranking=[2, 1, 2], shown_order=(2, 0, 1))
    with any_database.reader() as session:
        columns = judgment_reader.read(session, project.id)
    assert columns.arrays.size.tolist() == [2, 2, 0, 3]
    assert columns.sign.tolist() == [-1, 0, -1, 0, 1]
    assert columns.arrays.first.tolist() == [1, -1, -1, 1]
    assert columns.arrays.shown.tolist() == [1, 0, 0, 2]
    assert columns.is_tie.tolist() == [False, True, False, False]
    table = columns.table()
    assert table.unit.tolist() == [0, 0, 1, 2, 3]
    assert table.code.tolist() == [0, 1, 0, 1, 2]
    assert table.owner.tolist() == [0, 1, 1, 1]
    assert columns.strength_table() is None
    picks = columns.where(np.isin(columns.arrays.comparison, [pick.id]))
    strengths = picks.strength_table()
    assert strengths is not None
    assert strengths.values[strengths.code].tolist() == [-3, 0]


def test_a_further_category_gets_a_number_of_its_own(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgment_reader, "SMALL", 0)
    with any_database.transaction() as session:
        project, people = make_project(session)
    for category in ("math", "poems", "math"):
        with any_database.transaction() as session:
            comparison = make_comparison(session, project)
            session.get_one(Prompt, comparison.prompt_id).category = category
            vote(session, comparison, people[0], preferred="a")
        with any_database.reader() as session:
            found = assert_same(session, project.id)
            judgment_reader.read(session, project.id)
    assert [found.categories[at] for at in found.arrays.category] == ["math", "poems", "math"]


@pytest.mark.parametrize("spread", [1, 10**9])
def test_numbers_follow_the_first_appearance(spread: int) -> None:
    values = np.array([7, 3, 7, 9, 3, 1]) * spread
    distinct, first, number = numbered(narrowed(values))
    assert distinct.tolist() == [7 * spread, 3 * spread, 9 * spread, spread]
    assert first.tolist() == [0, 1, 3, 5]
    assert number.tolist() == [0, 1, 0, 2, 1, 3]
    assert [len(part) for part in numbered(narrowed(values[:0]))] == [0, 0, 0]


def test_numbers_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).integers(100, 140, 200)
    whole = numbered(values)
    monkeypatch.setattr(krippendorff, "PART", 7)
    for left, right in zip(whole, numbered(values), strict=True):
        assert left.tolist() == right.tolist()


@pytest.mark.parametrize(
    ("highest", "bytes_each"), [(2**7 - 1, 1), (2**7, 2), (2**15, 4), (2**31, 8)]
)
def test_columns_have_the_narrowest_type_that_holds_them(highest: int, bytes_each: int) -> None:
    narrow = narrowed(np.array([-1, highest]))
    assert narrow.tolist() == [-1, highest]
    assert narrow.itemsize == compact("labeler", (highest,)).itemsize == bytes_each
