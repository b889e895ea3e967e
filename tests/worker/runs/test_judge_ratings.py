"""AI judges that rate responses and give thumbs: what is kept, measured, exported and counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import Database
from app.domain.judged_by import JudgedBy
from app.domain.judges.servers import AllowedServer
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind, RateBody, ThumbsBody
from app.domain.measures import Measure
from app.errors import Conflict
from app.formats.manifest import Counts
from app.models import AiJudgment, AiOutcome, Judge
from app.services.datasets import judged_comparisons, preferences
from app.services.datasets.judged_comparisons import ExportOptions, JudgedPage
from app.services.judging import ai_judgments
from app.services.project import criteria
from app.services.project.criteria import CriterionSettings
from app.services.quality import agreement, judge_quality
from app.services.rounds import judge_jobs
from tests import judge_server
from tests.judge_server import JudgeServer
from tests.services import sample
from tests.worker.runs import judged

RATE, THUMBS = JudgmentKind.RATE, JudgmentKind.THUMBS
CRITERIA = [CriterionSettings("kind", "Is it polite?", weight=3.0), CriterionSettings("true")]


@pytest.fixture
def served() -> Iterator[JudgeServer]:
    with judge_server.serving() as server:
        yield server


def set_up(
    database: Database, served: JudgeServer, kind: JudgmentKind, body: JudgmentBody
) -> tuple[int, int]:
    """Make a project in which two people have judged three comparisons; ask a judge about them.

    By canonical position, the judge gives the first response 4 and the second 2.
    """
    with database.transaction() as session:
        project = sample.make_project(
            session, judgment_kind=kind, k=2 if kind is RATE else 1, overlap=2
        )
        criteria.arrange(session, project, CRITERIA, actor_id=None)
        served.taste = judged.by_position(
            session, judged.make_comparisons(session, project, 3), (4.0, 2.0)
        )
        labelers = sample.make_labelers(session, project, 2)
        assert judged.judge_by_people(session, project, labelers, 9, body) == 6
        judge = judged.make_judge(session, project, served.url)
        judge_jobs.compare(session, judge, 3, actor_id=None)
        return project.id, judge.id


def exported(database: Database, project_id: int) -> tuple[JudgedPage, Counts]:
    counts = Counts()
    options = ExportOptions(judged_by=JudgedBy.AI)
    with database.reader() as session:
        return preferences.read_page(session, project_id, options, counts), counts


def number(measure: Measure) -> float:
    assert isinstance(measure.value, float)
    return measure.value


def test_a_judge_rates_each_response_twice_and_is_compared_by_criterion(
    any_database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    served.pull = 1.0
    body = RateBody({"kind": (4, 2), "true": (3, 1)})
    project_id, judge_id = set_up(any_database, served, RATE, body)
    with any_database.reader() as session:
        before = agreement.report(session, project_id).absolute
    result = judged.run(any_database, tmp_path, AllowedServer(served.url))
    assert (result["judged"], result["inconsistent"], result["requests"]) == (3, 0, 12)
    with any_database.reader() as session:
        (row, *_) = ai_judgments.newest(session, judge_id, limit=9, failed=False)
        found = judge_quality.of_judge(session, session.get_one(Judge, judge_id))
        assert agreement.report(session, project_id).absolute == before, "people's stays as it is"
    # The criterion listed first gets a point more; halves go to the middle of the scale.
    assert row.ratings == {"kind": [4, 3], "true": [4, 3]}
    assert [(order["order"], order["is_reversed"]) for order in row.orders] == [
        ([0], False), ([0], True), ([1], False), ([1], True),
    ]  # fmt: skip
    assert row.orders[1]["ratings"] == {"kind": 4, "true": 5}
    assert (found.judged, found.compared, found.agreement.n) == (3, 3, 0)
    by_name = dict(found.single.criteria)
    assert list(by_name) == ["kind", "true"]
    assert number(by_name["kind"].with_people.identical) == pytest.approx(0.5)
    assert number(by_name["true"].with_people.within_one) == pytest.approx(0.5)
    assert number(by_name["kind"].itself.identical) == 0.0
    assert number(by_name["kind"].people.alpha) == 1.0
    assert by_name["kind"].with_people.responses == 6
    assert found.single.mean is not None
    assert found.single.thumbs is None


def test_ratings_of_a_judge_are_exported_where_they_are_asked_for(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    body = RateBody({"kind": (4, 2), "true": (3, 1)})
    project_id, _ = set_up(database, served, RATE, body)
    judged.run(database, tmp_path, AllowedServer(served.url))
    page, counts = exported(database, project_id)
    assert counts.judgments.excluded == {judged_comparisons.BY_PERSON: 6}
    for row in page.rows:
        (vote,) = row.votes
        assert vote.ranking is not None
        assert (vote.ratings, vote.ranking.ranks) == ({"kind": [4, 2], "true": [4, 2]}, (1, 2))
        assert vote.comment == "A: By taste.\nB: By taste."
        training = judged_comparisons.training_row(row)
        assert training is not None
        assert [one.ratings for one in training.absolutes] == [
            {"kind": 4.0, "true": 4.0},
            {"kind": 2.0, "true": 2.0},
        ]


@pytest.mark.parametrize(("pull", "thumb"), [(0.5, "down"), (9.0, None)])
def test_a_thumb_stands_only_if_both_replies_give_it(
    any_database: Database, tmp_path: Path, served: JudgeServer, pull: float, thumb: str | None
) -> None:
    served.pull = pull
    project_id, judge_id = set_up(any_database, served, THUMBS, ThumbsBody("down"))
    result = judged.run(any_database, tmp_path, AllowedServer(served.url))
    assert (result["judged"], result["inconsistent"]) == (3, 0 if thumb else 3)
    with any_database.reader() as session:
        (row, *_) = ai_judgments.newest(session, judge_id, limit=9, failed=False)
        judge = session.get_one(Judge, judge_id)
        found = judge_quality.of_judge(session, judge)
        assert judge_quality.count_comparable(session, judge, THUMBS) == (3 if thumb else 0)
    assert (row.thumb, row.is_consistent, len(row.orders)) == (thumb, thumb is not None, 2)
    measured = found.single.thumbs
    assert measured is not None
    assert found.compared == measured.with_people.responses == (3 if thumb else 0)
    assert measured.undecided == (0 if thumb else 3)
    page, counts = exported(database=any_database, project_id=project_id)
    assert [vote.thumb for row in page.rows for vote in row.votes] == ["down"] * (3 if thumb else 0)
    undecided = counts.judgments.excluded.get(judged_comparisons.AI_UNDECIDED, 0)
    assert undecided == measured.undecided


def test_being_compared_on_ratings_says_nothing_about_picks(
    database: Database, tmp_path: Path, served: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_quality, "LEAST_COMPARED", 3)
    body = RateBody({"kind": (4, 2), "true": (3, 1)})
    _, judge_id = set_up(database, served, RATE, body)
    with database.reader() as session:
        reason = judge_quality.why_not_alone(session, session.get_one(Judge, judge_id))
    assert "on 0 of the 3 comparisons to rate that are needed" in reason
    judged.run(database, tmp_path, AllowedServer(served.url))
    with database.transaction() as session:
        judge = session.get_one(Judge, judge_id)
        judge_quality.check_alone(session, judge)
        with pytest.raises(Conflict, match="on 0 of the 3 comparisons that are needed"):
            judge_quality.check_alone(session, judge, JudgmentKind.PICK)


def test_a_rating_off_the_scale_is_malformed_and_names_the_criterion(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    served.spell = lambda text: text.replace("4", "9", 1)
    body = RateBody({"kind": (4, 2), "true": (3, 1)})
    _, judge_id = set_up(database, served, RATE, body)
    result = judged.run(database, tmp_path, AllowedServer(served.url))
    assert (result["judged"], result["malformed"]) == (0, 3)
    with database.reader() as session:
        rows: list[AiJudgment] = ai_judgments.newest(session, judge_id, limit=9, failed=True)
    assert {row.outcome for row in rows} == {AiOutcome.MALFORMED}
    assert {row.error for row in rows} == {"a rating is 1 to 5, not 9, on 'kind'"}
    assert all(row.ratings is None and row.cost for row in rows)
