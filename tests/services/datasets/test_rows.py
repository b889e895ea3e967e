"""Comparisons, judgments and preferences as rows: states, filters, pages by key, indexes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid, NotFound
from app.models import (
    Comparison,
    Judgment,
    Membership,
    Project,
    Prompt,
    Purpose,
    Round,
    Split,
    User,
)
from app.services.datasets import comparison_rows, judgment_rows, preference_rows, row_filters
from app.services.datasets.comparison_rows import JudgingState
from app.services.datasets.judgment_rows import JudgmentState
from app.services.datasets.row_filters import RowFilter, RowPage, RowSelection
from app.services.project import prompt_labels
from app.services.project.prompt_labels import LabelAction, PromptSelection
from app.services.queue import comparisons
from tests.services.sample_votes import make_comparison, make_project, vote


@dataclass
class Desk:
    """A project with two judged comparisons that differ in all that can be filtered by."""

    project: Project
    people: list[User]
    old: Comparison
    new: Comparison


@pytest.fixture
def desk(session: Session) -> Desk:
    return made(session)


def made(session: Session) -> Desk:
    project, people = make_project(session)
    round_ = rounds_of(session, project)
    old = make_comparison(session, project, overlap=2)
    new = make_comparison(
        session, project, ("x", "y"), overlap=3, round_id=round_, purpose=Purpose.EVALUATION
    )
    new.kind = JudgmentKind.RANK
    prompt = session.get_one(Prompt, new.prompt_id)
    prompt.split, prompt.source = Split.TEST, "exam.jsonl"
    completion = comparisons.completions_of(session, new.id)[0]
    completion.source = "SFT 1"
    selection = PromptSelection(ids=(prompt.id,))
    for action, value in ((LabelAction.CATEGORIZE, "math"), (LabelAction.TAG, "hard")):
        prompt_labels.edit(session, project, selection, action, value, actor_id=None)
    session.refresh(prompt)
    for person in people[:2]:
        vote(session, old, person, preferred="a", strength=3)
    late = vote(session, new, people[2], version=2, ranking=[2, 1])
    late.kind = JudgmentKind.RANK
    for row in (old, new):
        row.created_at -= timedelta(days=2)
    new.created_at += timedelta(days=1)
    late.submitted_at += timedelta(hours=1)
    session.flush()
    return Desk(project, people, old, new)


def rounds_of(session: Session, project: Project) -> int:
    row = Round(
        project_id=project.id, number=1, plan={}, created_at=now(session), created_by_id=None
    )
    session.add(row)
    session.flush()
    return row.id


def chosen(session: Session, desk: Desk, **asked: Any) -> RowSelection:
    return row_filters.resolve(session, desk.project.id, RowFilter(**asked))


def pseudonym(session: Session, desk: Desk, person: User) -> str:
    query = session.query(Membership).filter_by(user_id=person.id, project_id=desk.project.id)
    return query.one().pseudonym


def filters(session: Session, desk: Desk) -> dict[str, Any]:
    """Return for each filter the value that only the new comparison has."""
    return {
        "round": 1,
        "purpose": Purpose.EVALUATION,
        "kind": JudgmentKind.RANK,
        "split": Split.TEST,
        "source": "exam.jsonl",
        "category": "math",
        "tag": "hard",
        "model": "SFT 1",
        "labeler": pseudonym(session, desk, desk.people[2]),
        "version": 2,
    }


def all_of(read: Callable[[str], RowPage[Any]]) -> Iterator[Any]:
    cursor: str | None = ""
    while cursor is not None:
        page = read(cursor)
        yield from page.rows
        cursor = page.next


def test_each_filter_selects_in_each_list(any_database: Database) -> None:
    with any_database.transaction() as session:
        desk = made(session)
        for name, value in filters(session, desk).items():
            selection = chosen(session, desk, **{name: value})
            compared = comparison_rows.page(session, selection).rows
            assert [row.id for row in compared] == [desk.new.id], name
            judged = judgment_rows.page(session, selection).rows
            assert [row.comparison_id for row in judged] == [desk.new.id], name
            preferred = preference_rows.page(session, selection).rows
            assert [row.comparison_id for row in preferred] == [desk.new.id], name


def test_times_apply_to_creation_and_to_submission(any_database: Database) -> None:
    with any_database.transaction() as session:
        desk = made(session)
        late = desk.new.created_at
        since = comparison_rows.page(session, chosen(session, desk, since=late)).rows
        until = comparison_rows.page(session, chosen(session, desk, until=late)).rows
        assert ([row.id for row in since], [row.id for row in until]) == (
            [desk.new.id],
            [desk.old.id],
        )
        submitted = max(row.submitted_at for row in session.query(Judgment))
        since_ = judgment_rows.page(session, chosen(session, desk, since=submitted)).rows
        until_ = judgment_rows.page(session, chosen(session, desk, until=submitted)).rows
        assert ([row.round for row in since_], [row.round for row in until_]) == ([1], [None, None])


def test_a_judgment_says_what_was_said_under_a_pseudonym(session: Session, desk: Desk) -> None:
    first = judgment_rows.page(session, chosen(session, desk)).rows[0]
    assert first.labeler == pseudonym(session, desk, desk.people[0])
    assert (first.preferred, first.strength, first.state) == ("a", 3, JudgmentState.COUNTED)
    assert "@" not in repr(first)


def test_every_revision_has_its_state_and_can_be_filtered_by_it(any_database: Database) -> None:
    with any_database.transaction() as session:
        desk = made(session)
        counted, retracted, withdrawn = session.query(Judgment).order_by(Judgment.id)
        retracted.is_retraction = True
        other = make_comparison(session, desk.project)
        superseded = vote(session, other, desk.people[0], preferred="b")
        superseded.is_current = False
        surplus = vote(session, other, desk.people[1], preferred="b")
        surplus.is_surplus = True
        comparisons.withdraw(session, desk.new.id)
        session.flush()
        states = {
            row.id: row.state for row in judgment_rows.page(session, chosen(session, desk)).rows
        }
        expected = {
            counted.id: JudgmentState.COUNTED,
            retracted.id: JudgmentState.RETRACTED,
            withdrawn.id: JudgmentState.WITHDRAWN,
            superseded.id: JudgmentState.SUPERSEDED,
            surplus.id: JudgmentState.SURPLUS,
        }
        assert states == expected
        for judgment_id, state in expected.items():
            found = judgment_rows.page(session, chosen(session, desk), state=state).rows
            assert [row.id for row in found] == [judgment_id], state
        preferred = preference_rows.page(session, chosen(session, desk)).rows
        assert [row.judgment_id for row in preferred] == [counted.id]


def test_a_comparison_shows_its_state_its_completions_and_texts_only_if_asked(
    session: Session, desk: Desk
) -> None:
    old, new = comparison_rows.page(session, chosen(session, desk)).rows
    assert (old.state, old.judgments, new.state) == (JudgingState.JUDGED, 2, JudgingState.OPEN)
    assert (new.category, new.tags, new.round) == ("math", ("hard",), 1)
    assert {completion.model for completion in new.completions} == {"SFT 1", "test"}
    assert (new.messages, new.completions[0].text) == (None, None)
    for state in JudgingState:
        found = comparison_rows.page(session, chosen(session, desk), state=state).rows
        assert [row.state for row in found] == [state] * (state is not JudgingState.WITHDRAWN)
    full = comparison_rows.page(session, chosen(session, desk), texts=True).rows[1]
    assert full.messages is not None
    assert {completion.text for completion in full.completions} == {"x", "y"}


def test_pages_meet_without_gap_or_overlap(session: Session, desk: Desk) -> None:
    for _ in range(4):
        comparison = make_comparison(session, desk.project, ("a", "b", "c"), kind=JudgmentKind.RANK)
        for person in desk.people[:2]:
            said = vote(session, comparison, person, ranking=[1, 2, 2], shown_order=(0, 1, 2))
            said.kind = JudgmentKind.RANK
    session.flush()
    everything = chosen(session, desk)
    for page in (comparison_rows.page, judgment_rows.page, preference_rows.page):

        def read(cursor: str, page: Callable[..., RowPage[Any]] = page, limit: int = 2) -> Any:
            return page(session, everything, cursor=cursor, limit=limit)

        whole = list(page(session, everything).rows)
        assert list(all_of(read)) == whole
        assert (
            len(whole)
            == {
                comparison_rows.page: 6,
                judgment_rows.page: 11,
                preference_rows.page: 3 + 8 * 3,
            }[page]
        )


def test_preferences_name_the_pairs_and_mark_ties(session: Session, desk: Desk) -> None:
    comparison = make_comparison(session, desk.project, ("a", "b", "c"), kind=JudgmentKind.RANK)
    vote(session, comparison, desk.people[0], ranking=[2, 1, 2]).kind = JudgmentKind.RANK
    session.flush()
    rows = [
        row
        for row in preference_rows.page(session, chosen(session, desk)).rows
        if row.comparison_id == comparison.id
    ]
    said = [(row.number, row.chosen.position, row.rejected.position, row.is_tie) for row in rows]
    assert said == [(0, 1, 0, False), (1, 1, 2, False), (2, 0, 2, True)]


def test_an_edit_is_preferred_to_the_original(session: Session, desk: Desk) -> None:
    comparison = make_comparison(session, desk.project, ("meh",), kind=JudgmentKind.EDIT)
    said = vote(session, comparison, desk.people[0], text="good", shown_order=(0,))
    said.kind = JudgmentKind.EDIT
    session.flush()
    row = preference_rows.page(session, chosen(session, desk), texts=True).rows[-1]
    assert (row.chosen.text, row.chosen.model, row.rejected.text) == ("good", "edit", "meh")


def test_names_and_cursors_that_are_unknown_are_refused(session: Session, desk: Desk) -> None:
    with pytest.raises(NotFound, match="no round 9"):
        chosen(session, desk, round=9)
    with pytest.raises(NotFound, match="no labeler 'L99'"):
        chosen(session, desk, labeler="L99")
    moment = desk.old.created_at
    with pytest.raises(Invalid, match="until must be after since"):
        chosen(session, desk, since=moment, until=moment)
    for page in (comparison_rows.page, judgment_rows.page, preference_rows.page):
        for cursor in ("x", "-1", "1.2.3", "٣", "9" * 30):
            with pytest.raises(Invalid, match="a cursor is what a page returned"):
                page(session, chosen(session, desk), cursor=cursor)


def test_another_projects_rows_stay_out(session: Session, desk: Desk) -> None:
    other = made(session)
    for page in (comparison_rows.page, judgment_rows.page, preference_rows.page):
        mine = {
            row.comparison_id if hasattr(row, "comparison_id") else row.id
            for row in page(session, chosen(session, desk)).rows
        }
        assert mine == {desk.old.id, desk.new.id}
        assert not mine & {other.old.id, other.new.id}


@pytest.mark.services
def test_every_list_can_use_an_index_for_every_filter(postgres_url: str) -> None:
    database = Database(postgres_url)
    plans: dict[str, str] = {}
    with database.transaction() as session:
        desk = made(session)
        asked = filters(session, desk) | {"since": now(session), "until": now(session)}
        session.execute(text("SET LOCAL enable_seqscan = off"))
        for name, value in asked.items():
            selection = chosen(session, desk, **{name: value})
            for page in (comparison_rows.page, judgment_rows.page, preference_rows.page):
                plans[f"{page.__module__} {name}"] = _plan(session, page, selection)
    database.dispose()
    for where, plan in plans.items():
        for table in ("judgment", "comparison", "prompt", "completion"):
            assert f"Seq Scan on {table}\n" not in plan, f"{where}: {plan}"
        assert "Index" in plan, where


def _plan(session: Session, page: Callable[..., object], selection: RowSelection) -> str:
    """Explain the first statement of a page."""
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        statements.append((statement, parameters))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    page(session, selection)
    event.remove(connection, "before_cursor_execute", note)
    statement, parameters = next(one for one in statements if "LIMIT" in one[0])
    lines = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
    return "\n".join(line.split("  (cost")[0] for line in lines) + "\n"
