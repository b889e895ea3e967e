"""The agreement, labelers and evaluation pages: figures, weightings, and reasons in words."""

import html
import re
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database, now
from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import RoundPlan
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonCompletion,
    Completion,
    Purpose,
    Role,
    Round,
    User,
)
from app.services.checkpoints import checkpoints
from app.services.people import accounts
from app.services.project import projects
from app.services.quality.agreement import MIN_BIN_SIZE
from app.services.queue import comparisons
from app.services.rounds import evaluations
from app.web.pages.agreement import HEAT_MOST, HeatMapCell, in_heat_map
from tests.services.sample_votes import make_comparison, vote
from tests.web import charted

SignIn = Callable[..., TestClient]
KAPPAS = "Cohen’s kappa of every two labelers"


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser signed in as the lead of the project desk."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        projects.create(session, name="Desk", owner=user)
    return browser


def shown(browser: TestClient, page: str) -> str:
    answer = browser.get(f"/p/desk/{page}", headers={"accept": "text/html"})
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.text)


def judge(database: Database, *said: tuple[str, ...]) -> None:
    """Judge a comparison for each tuple of picks, by labelers in order."""
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        people = [
            accounts.create_user(session, email=f"p{n}@example.org", name="P", password=None)
            for n in range(max(map(len, said)))
        ]
        for one in people:
            accounts.add_member(session, project.id, one.id, Role.LABELER, actor_id=None)
        for number, picks in enumerate(said):
            comparison = make_comparison(session, project, overlap=len(picks))
            for who, pick in zip(people, picks, strict=False):
                order = (0, 1) if number // 2 % 2 else (1, 0)  # apart from the picks
                vote(session, comparison, who, preferred=pick, shown_order=order)


def test_a_human_level_says_which_comparisons_it_is_of(
    lead: TestClient, database: Database
) -> None:
    judge(database, *[("a", "a")] * 5, ("a", "b"))
    text = shown(lead, "agreement")
    assert "Over all comparisons selected here, ties aside, one labeler predicts another" in text


def test_both_alphas_are_shown_only_where_they_differ(lead: TestClient, database: Database) -> None:
    judge(database, *[("a", "a", "a", "b")] * 3, *[("a", "b")] * 3, *[("a", "a", "a")] * 3)
    text = shown(lead, "agreement")
    assert "Alpha, comparisons counted equally" in text
    assert "counts each judgment of a pair the same, as published" in text
    assert "Fleiss’ kappa" in text
    assert "clustered by prompt" in text


def test_equal_overlap_shows_one_alpha(lead: TestClient, database: Database) -> None:
    judge(database, *[("a", "a")] * 3, *[("a", "b")] * 2)
    text = shown(lead, "agreement")
    assert "Alpha, comparisons counted equally" not in text
    assert "Cohen’s kappa" in text


def test_ties_alone_are_not_called_unjudged(lead: TestClient, database: Database) -> None:
    judge(database, *[("tie", "tie")] * 3)
    text = shown(lead, "agreement")
    assert "Not defined: every judgment is a tie, so nobody chose between two responses." in text
    assert "no comparison has two judgments" not in text


def test_a_contrary_labeler_is_named_on_both_pages(lead: TestClient, database: Database) -> None:
    judge(database, *[("a", "a", "b"), ("b", "b", "a")] * 20)
    assert "chooses as the others do 0 %" in shown(lead, "agreement")
    labelers = shown(lead, "labelers")
    assert labelers.count(">check</a>") == 1
    assert "Chose longer" in labelers
    assert "others " in labelers


def test_columns_of_labelers_without_a_figure_are_left_out(
    lead: TestClient, database: Database
) -> None:
    judge(database, *[("a", "a")] * 3)
    text = shown(lead, "agreement")
    table = text[text.index('data-table="agreement-labelers"') :]
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", table)
    assert heads[:4] == ["Labeler", "Judgments", "With others", "Chose first shown"]


def test_kappas_of_thumbs_stand_beside_their_alpha(lead: TestClient, database: Database) -> None:
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        owner = session.scalars(select(User)).one()
        other = accounts.create_user(session, email="o@example.org", name="O", password=None)
        accounts.add_member(session, project.id, other.id, Role.LABELER, actor_id=None)
        for n in range(30):
            comparison = make_comparison(
                session, project, ("one",), overlap=2, kind=JudgmentKind.THUMBS
            )
            for who, is_up in ((owner, n < 15), (other, n < 18)):
                vote(session, comparison, who, thumb="up" if is_up else "down", shown_order=(0,))
    text = shown(lead, "agreement")
    assert "Fleiss’ kappa of thumbs" in text
    assert KAPPAS in text
    thumbs = lead.get("/api/v1/projects/desk/agreement").json()["thumbs"]
    # Observed 0.9; expected 0.5 * 0.6 + 0.5 * 0.4.
    assert thumbs["pairs"][0]["kappa"]["value"] == pytest.approx((0.9 - 0.5) / 0.5)
    assert thumbs["fleiss"]["value"] is not None


def evaluated(database: Database, *verdicts: str, identical: int = 0) -> int:
    """Complete an evaluation with one vote, tie or both bad for each prompt; return its id."""
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        labeler = session.scalars(select(User)).one()
        plan = RoundPlan().to_json()
        round_ = Round(project_id=project.id, number=1, plan=plan, created_at=now(session))
        session.add(round_)
        models = [
            Checkpoint(
                project_id=project.id,
                kind=CheckpointKind.POLICY,
                name=f"Policy {n}",
                uri=f"policy/{n}",
                created_at=now(session),
            )
            for n in (1, 2)
        ]
        session.add_all(models)
        session.flush()
        new, old = models
        evaluation = evaluations.open_evaluation(session, round_, new.id, old.id)
        scores: dict[int, float] = {}
        for verdict in verdicts:
            comparison = make_comparison(
                session, project, purpose=Purpose.EVALUATION, evaluation_id=evaluation.id
            )
            query = (
                select(Completion)
                .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
                .where(ComparisonCompletion.comparison_id == comparison.id)
                .order_by(ComparisonCompletion.position)
            )
            first, second = session.scalars(query)
            first.checkpoint_id, second.checkpoint_id = new.id, old.id
            scores |= {first.id: 1.0, second.id: 0.0}
            said: dict[str, Any] = (
                {"both_bad": True} if verdict == "bad" else {"preferred": verdict}
            )
            vote(session, comparison, labeler, **said)
        evaluations.record_scores(
            session,
            evaluation,
            arbiter="Reward 1",
            scores=scores,
            identical=list(range(1000, 1000 + identical)),
            lengths={},
            notes={},
        )
        evaluations.complete(session, evaluation)
        return evaluation.id


def test_an_evaluation_says_how_many_identical_responses_are_ties(
    lead: TestClient, database: Database
) -> None:
    number = evaluated(database, "a", "b", identical=2)
    text = shown(lead, f"evaluations/{number}")
    assert "75.0 %" in text
    assert "and 2 prompts with identical responses, counted as ties" in text
    assert "[" in text[text.index("At least as good") :]


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("tie", ("No interval: every vote is a tie.", "is not defined: every vote is a tie")),
        ("bad", ("Not defined: every judgment is “both bad”, which prefers neither.",)),
    ],
)
def test_an_evaluation_without_choices_says_why(
    lead: TestClient, database: Database, verdict: str, words: tuple[str, ...]
) -> None:
    text = shown(lead, f"evaluations/{evaluated(database, verdict, verdict)}")
    for expected in words:
        assert expected in text
    assert "No judgments yet" not in text


def test_the_pages_of_a_round_show_even_and_where_a_base_model_is(
    lead: TestClient, database: Database
) -> None:
    evaluated(database, "a", "b")
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        checkpoints.register_base(session, project, "desk/small-model")
    bar = shown(lead, "rounds/1").split('aria-label="Win rate of the new policy')[1]
    assert "interval-mark" in bar.split("</svg>")[0]
    rounds = shown(lead, "rounds")
    assert re.findall(r"<th[^>]*>([^<]*)</th>", rounds)[:3] == ["Round", "State", "Win rate"]
    models = shown(lead, "models")
    assert re.findall(r"<th[^>]*>([^<]*)</th>", models)[:2] == ["Model", "Results"]
    row = next(row for row in re.findall(r"<tr>.*?</tr>", models) if "desk/small-model" in row)
    name, results = re.findall(r"<td[^>]*>(.*?)</td>", row)[:2]
    assert "desk/small-model" in name
    assert results.strip() == "–"


def test_withdrawing_from_a_complete_evaluation_changes_every_page(
    lead: TestClient, database: Database
) -> None:
    number = evaluated(database, "a", "b")
    assert "50 %" in shown(lead, "rounds")
    with database.transaction() as session:
        (last,) = session.scalars(select(Comparison).order_by(Comparison.id.desc()).limit(1))
        comparisons.withdraw(session, last.id)
    assert "100 %" in shown(lead, "rounds")
    assert "100.0 %" in shown(lead, f"evaluations/{number}")
    assert "Its judgments do not count." in shown(lead, f"evaluations/{number}")
    answers = lead.get(f"/api/v1/projects/desk/evaluations/{number}/answers").json()
    assert sorted(row["is_withdrawn"] for row in answers) == [False, True]


def test_agreement_over_time_is_a_chart_with_a_file_of_the_same_selection(
    lead: TestClient, database: Database
) -> None:
    judge(database, *[("a", "a")] * MIN_BIN_SIZE, *[("a", "b")] * MIN_BIN_SIZE)
    page = lead.get("/p/desk/agreement?version=1", headers={"accept": "text/html"}).text
    drawing = charted.of_page(page)["Over time"]
    (line,) = drawing["lines"]
    assert (line["x"], line["y"]) == ([1, 2], [100, 0])
    assert drawing["bands"] == [{"low": 63, "high": 77, "label": "trained labelers"}]
    (address,) = re.findall(r'href="([^"]*over-time.csv[^"]*)"', page)
    assert address.endswith("?version=1"), "the file keeps the filters"
    charted.assert_same(drawing, lead.get(address).text)
    empty = lead.get(address.replace("version=1", "version=2"))
    assert charted.rows(empty.text) == []


@pytest.mark.parametrize(("count", "left_out"), [(HEAT_MOST, 0), (HEAT_MOST + 1, HEAT_MOST - 1)])
def test_a_heat_map_of_many_leaves_out_who_is_compared_with_nobody(
    count: int, left_out: int
) -> None:
    names = [f"L{n}" for n in range(1, count + 1)]
    cells = {pair: HeatMapCell(None, None, 1, 0) for pair in combinations(names, 2)}
    cells["L3", "L5"] = HeatMapCell(0.7, None, 30, 3)
    shown = in_heat_map(names, cells)
    assert len(names) - len(shown) == left_out
    assert {"L3", "L5"} <= set(shown)


def test_the_heat_map_leads_to_what_two_labelers_disagree_on(
    lead: TestClient, database: Database
) -> None:
    judge(database, *[("a", "b")] * 2, *[("a", "a")] * 3)
    page = lead.get("/p/desk/agreement", headers={"accept": "text/html"}).text
    (address,) = re.findall(r'href="(/p/desk/comparisons[?]between=[^"]*)"', page)
    listed = lead.get(html.unescape(address), headers={"accept": "text/html"}).text
    assert len(re.findall(r'class="excerpt"', listed)) == 2
    assert re.search(r"where L\d+ and L\d+ disagree", listed)
