"""Which votes rank which sources."""

import numpy as np
import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Purpose
from app.services.quality import comparison_sources, figure_refresher, kept_figures, leaderboard
from app.services.quality.leaderboard import LeaderboardReport, VotesBy
from app.services.queue import comparisons
from tests.services import compared_sources
from tests.services.compared_sources import compare, prefer
from tests.services.sample_votes import make_project, vote


def wins(report: LeaderboardReport) -> dict[str, tuple[int, int, int]]:
    return {
        source.name: (source.wins, source.ties, source.losses) for source in report.board.sources
    }


def test_votes_are_counted_by_source_whatever_the_canonical_order(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        for number in range(12):
            comparison = compare(session, project, number, ("alpha", "beta"))
            prefer(session, comparison, people[0], "alpha")
            prefer(session, comparison, people[1], *(["beta"] if number % 2 else []))
    with any_database.reader() as session:
        report = leaderboard.of_project(session, project.id)
    assert wins(report) == {"alpha": (12, 6, 6), "beta": (6, 6, 12)}
    assert (report.counts.people, report.counts.votes, report.board.prompts) == (24, 24, 12)
    assert [source.name for source in report.board.sources] == ["alpha", "beta"]
    assert report.board.sources[0].share.value == pytest.approx(15 / 24)


def test_a_ranking_is_its_pairs_with_the_weight_of_one_judgment(session: Session) -> None:
    project, people = make_project(session, judgment_kind=JudgmentKind.RANK, k=4)
    for number in range(12):
        comparison = compare(session, project, number, compared_sources.SOURCES)
        order = (
            ("alpha", "beta", "gamma", "delta")
            if number % 3
            else ("delta", "beta", "alpha", "gamma")
        )
        prefer(session, comparison, people[0], *order)
    report = leaderboard.of_project(session, project.id)
    assert wins(report)["alpha"] == (8 * 3 + 4 * 1, 0, 4 * 2)
    assert (report.counts.people, report.counts.votes) == (12, 72)
    # Twelve picks against the order weigh as much as twelve rankings.
    for number in range(12, 24):
        comparison = compare(session, project, number, ("alpha", "beta"), kind=JudgmentKind.PICK)
        prefer(session, comparison, people[0], "beta")
    mixed = leaderboard.of_project(session, project.id)
    assert mixed.counts.people == 24
    assert mixed.board.sources[0].name == "beta"


def test_only_training_and_evaluation_count_and_the_rest_is_named(session: Session) -> None:
    project, people = make_project(session)
    for number, purpose in enumerate(Purpose):
        comparison = compare(session, project, number, ("alpha", "beta"), purpose=purpose)
        prefer(session, comparison, people[0], "alpha")
    chosen = compare(session, project, 10, ("alpha", "beta"), chosen={"rule": "uncertain"})
    prefer(session, chosen, people[0], "beta")
    bad = compare(session, project, 11, ("alpha", "beta"))
    vote(session, bad, people[0], both_bad=True)
    own = compare(session, project, 12, ("alpha", "alpha"))
    vote(session, own, people[0], preferred="a")
    gone = compare(session, project, 13, ("alpha", "beta"))
    prefer(session, gone, people[0], "beta")
    comparisons.withdraw(session, gone.id)
    compare(session, project, 14, ("alpha", "gamma"))
    report = leaderboard.of_project(session, project.id)
    counts = report.counts
    assert wins(report) == {"alpha": (2, 0, 0), "beta": (0, 0, 2)}
    assert counts.left_out == dict.fromkeys(
        (Purpose.GOLD, Purpose.PRACTICE, Purpose.REPEAT, Purpose.FRESH), 1
    )
    assert (counts.no_preference, counts.same_source, counts.chosen) == (1, 1, 1)
    assert report.board.alone == ("gamma",)
    included = leaderboard.of_project(session, project.id, chosen=True)
    assert wins(included)["beta"] == (1, 0, 2)


def test_people_and_judges_are_counted_apart_or_together(session: Session) -> None:
    project, people = make_project(session)
    made = compared_sources.judged(session, project, people[:1], rounds=4)
    compared_sources.add_judge(session, project, made)
    by = {each: leaderboard.of_project(session, project.id, by=each) for each in VotesBy}
    assert [(report.counts.people, report.counts.judges) for report in by.values()] == [
        (24, 0),
        (0, 24),
        (24, 24),
    ]
    second = [compared_sources.order_of(session, comparison)[1] for comparison in made]
    assert wins(by[VotesBy.JUDGES])["alpha"][0] == second.count("alpha")
    assert by[VotesBy.BOTH].board.votes == 48
    assert by[VotesBy.PEOPLE] == leaderboard.of_project(session, project.id)


def test_categories_are_measured_apart_and_filters_apply_to_everything(session: Session) -> None:
    project, people = make_project(session)
    compared_sources.judged(session, project, people, rounds=6)
    whole = leaderboard.of_project(session, project.id)
    found = leaderboard.by_category(session, project.id)
    assert {category.name for category in found.shown} == {"(none)", "math", "prose"}
    assert sum(category.board.votes for category in found.shown) == whole.board.votes == 108
    math = leaderboard.of_project(session, project.id, categories=("math",))
    (of_category,) = (each.board for each in found.shown if each.name == "math")
    assert math.board == of_category
    assert math.counts.people == 36
    nothing = leaderboard.of_project(session, project.id, tags=("none",))
    assert nothing.board.groups == ()


def test_sources_of_one_name_stay_apart() -> None:
    none = np.zeros(0, dtype=np.int64)
    keys = ((0, "policy"), (7, "policy"), (0, "other"))
    sources = comparison_sources.ComparisonSources(none, none, none, keys)
    assert sources.names == ("policy (imported)", "policy (model 7)", "other")


def test_a_large_project_keeps_the_figure_and_reads_only_what_is_new(
    any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with any_database.transaction() as session:
        project, people = make_project(session)
        compared_sources.judged(session, project, people, rounds=4)
    with any_database.reader() as session:
        small = leaderboard.of_project(session, project.id)
        categories = leaderboard.by_category(session, project.id)
    for module in (kept_figures, comparison_sources):
        monkeypatch.setattr(module, "SMALL", 5)
    monkeypatch.setattr(comparison_sources, "RECENT", 2)
    kept_figures.forget()
    names = [f"leaderboard.{each}[[],{{}}]" for each in ("of_project", "by_category")]
    for name in names:
        kept_figures.record_want(any_database, project.id, name)
    figure_refresher.announce(any_database)
    assert figure_refresher.refresh(any_database) == 2
    with any_database.reader() as session:
        assert leaderboard.of_project(session, project.id) == small
        assert leaderboard.by_category(session, project.id) == categories
    with any_database.transaction() as session:
        project = session.merge(project)
        comparison = compare(session, project, 99, ("alpha", "epsilon"))
        prefer(session, comparison, session.merge(people[0]), "epsilon")
    figure_refresher.refresh(any_database)
    with any_database.reader() as session:
        later = leaderboard.of_project(session, project.id)
    assert wins(later)["epsilon"] == (1, 0, 0)
    assert later.counts.votes == small.counts.votes + 1
