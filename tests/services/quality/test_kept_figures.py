"""A kept figure equals what would be computed, or says what it is of."""

import subprocess

import pytest
from sqlalchemy.orm import Session

from app.db import Database, now, scan
from app.errors import FigurePending
from app.models import FigureRefresher, KeptFigure, Project
from app.services.project import prompt_labels
from app.services.project.prompt_labels import LabelAction, PromptSelection
from app.services.quality import (
    agreement,
    figure_refresher,
    judgment_reader,
    kept_figures,
    labeler_quality,
)
from app.services.quality.figure_refresher import RefreshSchedule, StaleFigure
from app.services.quality.kept_figures import kept
from app.services.queue import comparisons
from tests.services import sqlite_costs
from tests.services.sample_votes import make_comparison, make_project, vote


def make_judged_project(session: Session) -> Project:
    """Make a project in which three labelers agree on some of six comparisons."""
    project, people = make_project(session)
    for at in range(6):
        comparison = make_comparison(session, project)
        for number, person in enumerate(people[:3]):
            vote(session, comparison, person, preferred="ab"[(at + number) % 3 == 0])
    return project


def test_a_result_is_cached_until_a_labeler_judges(any_database: Database) -> None:
    calls: list[int] = []

    @kept
    def counted(session: Session, project_id: int) -> int:
        calls.append(project_id)
        return len(calls)

    with any_database.transaction() as session:
        project, people = make_project(session)
        comparison = make_comparison(session, project)
    for _ in range(2):
        with any_database.reader() as session:
            assert counted(session, project.id) == 1
    with any_database.transaction() as session:
        vote(session, session.merge(comparison), people[0], preferred="a")
    with any_database.reader() as session:
        assert counted(session, project.id) == 2


def test_a_withdrawal_and_a_further_judgment_show_at_once(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        first, second = (make_comparison(session, project) for _ in range(2))
        for comparison in (first, second):
            vote(session, comparison, people[0], preferred="a")
            vote(session, comparison, people[1], preferred="b")
    with any_database.reader() as session:
        assert agreement.lowest(session, project.id).total == 2
        assert len(labeler_quality.of_project(session, project.id)) == 2
    with any_database.transaction() as session:
        comparisons.withdraw(session, first.id)
    with any_database.reader() as session:
        assert [name for name, _ in agreement.lowest(session, project.id).rows] == [second.id]
        assert agreement.report(session, project.id).judgments == 2


def test_results_of_a_writing_session_are_not_cached(database: Database) -> None:
    with database.transaction() as session:
        project, people = make_project(session)
        comparison = make_comparison(session, project)
    try:
        with database.transaction() as session:
            vote(session, session.merge(comparison), people[0], preferred="a")
            assert agreement.report(session, project.id).judgments == 1
            raise InterruptedError
    except InterruptedError:
        pass
    with database.transaction() as session:
        vote(session, session.merge(comparison), people[0], both_bad=True)
    with database.reader() as session:
        assert agreement.report(session, project.id).without_preference == 1


def test_in_a_large_project_pages_read_what_the_refresher_has_computed(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_figures, "SMALL", 1)
    kept_figures.forget()
    with any_database.transaction() as session:
        project, people = make_project(session)
        first, second = (make_comparison(session, project) for _ in range(2))
        for comparison in (first, second):
            vote(session, comparison, people[0], preferred="a")
            vote(session, comparison, people[1], preferred="b")
    figure_refresher.hold(any_database, "here")
    with any_database.reader() as session, pytest.raises(FigurePending):
        agreement.report(session, project.id)
    kept_figures.record_want(any_database, project.id, "agreement.report[[],{}]")
    assert figure_refresher.refresh(any_database) == 1
    with any_database.reader() as session:
        report = agreement.report(session, project.id)
        assert kept_figures.as_of(session) is None
    with any_database.transaction() as session:
        assert report == agreement.report(session, project.id)  # computed in this session
        comparisons.withdraw(session, first.id)
    with any_database.reader() as session:
        assert agreement.report(session, project.id) == report
        assert kept_figures.as_of(session) is not None
    assert figure_refresher.refresh(any_database) == 1
    assert figure_refresher.refresh(any_database) == 0
    with any_database.reader() as session:
        assert agreement.report(session, project.id).judgments == 2
        assert kept_figures.as_of(session) is None


def test_a_figure_of_a_category_or_tag_is_kept_until_labels_change(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_figures, "SMALL", 1)
    kept_figures.forget()
    with any_database.transaction() as session:
        project, people = make_project(session)
        comparison = make_comparison(session, project)
        for person in people[:2]:
            vote(session, comparison, person, preferred="a")
    figure_refresher.hold(any_database, "here")
    name = 'agreement.report[[],{"categories":["math"],"tags":["hard","new"]}]'
    kept_figures.record_want(any_database, project.id, name)

    def judgments() -> int:
        figure_refresher.refresh(any_database)
        with any_database.reader() as session:
            report = agreement.report(
                session, project.id, categories=("math",), tags=("hard", "new")
            )
            assert kept_figures.as_of(session) is None
            return report.judgments

    assert judgments() == 0
    selection = PromptSelection(ids=(comparison.prompt_id,))
    for action, value in ((LabelAction.CATEGORIZE, "math"), (LabelAction.TAG, "new")):
        with any_database.transaction() as session:
            prompt_labels.edit(
                session, session.merge(project), selection, action, value, actor_id=None
            )
    assert judgments() == 2


def test_all_categories_are_the_figure_without_a_filter_and_long_names_are_computed(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = kept_figures.FUNCTIONS["agreement.report"]
    nothing: dict[str, object] = {"categories": (), "tags": (), "source": None}
    assert kept_figures.figure_name(report, (), nothing) == "agreement.report[[],{}]"
    monkeypatch.setattr(kept_figures, "SMALL", 0)
    kept_figures.forget()
    with any_database.transaction() as session:
        project, people = make_project(session)
        vote(session, make_comparison(session, project), people[0], preferred="a")
    figure_refresher.hold(any_database, "here")
    with any_database.reader() as session:
        many = tuple(f"category {number}" for number in range(kept_figures.NAME_MOST))
        assert agreement.report(session, project.id, categories=many).judgments == 0


def test_every_kept_figure_is_the_same_after_it_was_stored(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = make_judged_project(session)
    assert len(kept_figures.FUNCTIONS) >= 7
    with any_database.transaction() as session:
        for function in kept_figures.FUNCTIONS.values():
            if function.compute.__module__.startswith("app."):
                result = function.compute(session, project.id)
                name = kept_figures.figure_name(function, (), {})
                stored = kept_figures.call(session, project.id, name)
                assert function.adapter.validate_json(stored or "") == result


def test_a_figure_of_an_earlier_version_is_computed_again(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_figures, "SMALL", 0)
    kept_figures.forget()
    with any_database.transaction() as session:
        project, people = make_project(session)
        vote(session, make_comparison(session, project), people[0], preferred="a")
        name = "labeler_quality.of_project[[],{}]"
        row = KeptFigure(project_id=project.id, name=name, value='[{"old": 1}]', stamp="1")
        row.as_of = row.wanted_at = project.created_at
        unknown = KeptFigure(project_id=project.id, name="gone.figure[[],{}]", stamp="")
        unknown.wanted_at = project.created_at
        session.add_all([row, unknown])
    figure_refresher.hold(any_database, "here")
    with any_database.reader() as session, pytest.raises(FigurePending):
        labeler_quality.of_project(session, project.id)
    figure_refresher.refresh(any_database)
    with any_database.reader() as session:
        assert len(labeler_quality.of_project(session, project.id)) == 1
        assert session.query(KeptFigure).count() == 1


def test_the_refresher_knows_every_figure() -> None:
    found = subprocess.run(
        ["grep", "-rlE", "^@kept$", "app"], capture_output=True, text=True, check=True
    ).stdout.split()
    known = {module.__name__.replace(".", "/") + ".py" for module in figure_refresher.KEEPERS}
    assert set(found) == known


def test_one_refresher_works_until_it_is_gone(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure_refresher.hold(any_database, "first")
    figure_refresher.hold(any_database, "second")
    assert figure_refresher.holds(any_database, "first")
    with any_database.transaction() as session:
        session.get_one(FigureRefresher, 1).seen_at -= 2 * figure_refresher.LEASE
    figure_refresher.hold(any_database, "second")
    assert figure_refresher.holds(any_database, "second")


def figure(name: str, stamp: str = "1", *, is_first: bool = False) -> StaleFigure:
    return StaleFigure(1, name, stamp, is_first)


def names(figures: list[StaleFigure]) -> list[str]:
    return [each.name for each in figures]


def test_figures_rest_in_proportion_to_their_cost_while_judgments_come() -> None:
    schedule = RefreshSchedule()
    assert names(schedule.due([figure("dear"), figure("cheap")], 0.0)) == ["dear", "cheap"]
    schedule.note(figure("dear"), 2.0, 2.0)
    schedule.note(figure("cheap"), 0.1, 2.1)
    spent = {"dear": 2.0, "cheap": 0.1}
    costs = dict(spent)
    for second in range(3, 2003):
        stale = [figure("dear", str(second)), figure("cheap", str(second))]
        for each in schedule.due(stale, float(second)):
            schedule.note(each, costs[each.name], float(second))
            spent[each.name] += costs[each.name]
    assert sum(spent.values()) / 2000 < figure_refresher.CORE_SHARE * 1.05
    assert spent["cheap"] / costs["cheap"] > 10 * spent["dear"] / costs["dear"]


def test_when_no_judgment_comes_figures_are_fresh_at_once() -> None:
    schedule = RefreshSchedule()
    for name, cost_s in (("report", 3.0), ("weights", 60.0)):
        schedule.due([figure(name)], 0.0)
        schedule.note(figure(name), cost_s, 0.0)
    stale = [figure("weights", "2"), figure("report", "2")]
    assert schedule.due(stale, 5.0) == []
    assert schedule.due(stale, 8.0) == []
    assert names(schedule.due(stale, 9.0)) == ["report"]
    awaited = figure("new", "2", is_first=True)
    assert names(schedule.due([*stale, awaited], 9.5)) == ["new", "report"]


def test_people_judge_while_a_figure_is_computed(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with any_database.transaction() as session:
        project, (labeler, *_) = make_project(session)
        comparison = make_comparison(session, project)
        row = KeptFigure(project_id=project.id, name="slow[[],{}]", wanted_at=now(session))
        session.add(row)

    def computed(session: Session, project_id: int, _name: str) -> str:
        read = agreement.report(session, project_id).judgments
        with any_database.transaction() as writing:
            vote(writing, writing.merge(comparison), labeler, preferred="a")
        return str(read)

    monkeypatch.setattr(kept_figures, "call", computed)
    figure_refresher.compute(any_database, StaleFigure(project.id, row.name, "stamp", True))
    with any_database.reader() as session:
        assert session.get_one(KeptFigure, row.id).value == "0"


@pytest.mark.parametrize("pieces_of", [2, 1000])
def test_nobody_waits_for_a_figure_between_its_statements(
    database: Database, monkeypatch: pytest.MonkeyPatch, pieces_of: int
) -> None:
    monkeypatch.setattr(scan, "SQLITE_ROWS", pieces_of)
    with database.transaction() as session:
        project = make_judged_project(session)
    with sqlite_costs.others_committing(database) as commits:
        for function in list(kept_figures.FUNCTIONS.values()):
            if function.compute.__module__.startswith("app."):
                name = kept_figures.figure_name(function, (), {})
                kept_figures.forget()
                judgment_reader.forget()
                with database.long_reader() as session:
                    kept_figures.call(session, project.id, name)
    assert not commits.held
    assert len(commits.statements) > 20
