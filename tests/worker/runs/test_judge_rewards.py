"""Rounds and scores that an LLM judge decides: its servers, its rubric, and what it leaves out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judges.servers import AllowedServer
from app.domain.reward_parts import PartKind, RewardPart
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Guidelines, Job, Project, Round
from app.services.checkpoints import checkpoints
from app.services.rounds import rounds, scorings
from app.services.rounds.scorings import PromptChoice, ScorerChoice
from tests import judge_server
from tests.judge_server import Failure, JudgeServer
from tests.worker.runs import small
from worker.judging import chat_server
from worker.judging.chat_server import ChatUnavailable
from worker.runs import find
from worker.runs.data import reward_reading
from worker.runs.process import job_process
from worker.runs.process.job_context import JobContext


@pytest.fixture
def served() -> Iterator[JudgeServer]:
    with judge_server.serving() as server:
        yield server


def guided(session: Session, project: Project) -> Project:
    """Write guidelines, which a project of these tests lacks."""
    query = select(Guidelines).where(Guidelines.project_id == project.id)
    session.scalars(query).one().rules = "Rules of the launch."
    return project


def judged_round(database: Database, folder: Path, url: str, kind: str = "policy") -> JobContext:
    """Bring a round that a judge alone rewards to a kind of job, and claim it."""
    judge = RewardPart(PartKind.JUDGE, name="kind", url=url, model="tiny")
    reward = replace(small.PLAN.reward, weight=0.0, parts=(judge,))
    made = small.plan(reward=reward)
    with database.transaction() as session:
        project = guided(session, small.make_project(session, labelers=0))
        rounds.launch(session, project, made, None)
    while True:
        context = small.claimed(database, folder)
        context.judges = (AllowedServer(url),)
        if context.kind == kind:
            return context
        find(context.kind)(context)


def test_a_judge_rewards_a_round_by_the_guidelines_of_its_launch(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    context = judged_round(database, tmp_path, served.url)
    with database.transaction() as session:
        round_ = session.scalars(select(Round)).one()
        old = session.scalars(select(Guidelines)).one()
        session.add(
            Guidelines(
                project_id=old.project_id,
                version=old.version + 1,
                rules="Later rules.",
                created_at=round_.created_at + timedelta(seconds=1),
            )
        )
    find("policy")(context)
    with database.reader() as session:
        query = select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        policy = session.scalars(query).one()
    (part,) = policy.config["reward"]["parts"]
    assert (part["kind"], len(part["scale"])) == ("judge", 2)
    assert policy.metrics["reward/share/kind/unscored"] == 0.0
    assert policy.metrics["reward/amount/kind/tokens"] > 0.0
    systems = {request["messages"][0]["content"].split("# ")[-1] for request in served.requests}
    assert {system.splitlines()[2] for system in systems} == {"Rules of the launch."}


def test_a_lost_judge_returns_the_job_to_the_queue(
    database: Database, tmp_path: Path, served: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_server, "MAX_WAIT_S", 0.0)
    context = judged_round(database, tmp_path, served.url)
    served.failures = [Failure(503)] * 200
    with pytest.raises(ChatUnavailable):
        job_process.run(context, find)
    with database.reader() as session:
        job = session.get_one(Job, context.job_id)
        assert job.state == "queued"
        assert "failed 6 times; last error: status 503" in job.error


def test_a_judge_that_may_not_be_asked_is_refused_before_anything_is_computed(
    database: Database, tmp_path: Path, served: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = judged_round(database, tmp_path, served.url, "sft")
    context.judges = (AllowedServer("https://other/v1"),)
    with pytest.raises(Invalid, match=r"is not among .*ATTUNE_JUDGE_SERVERS.*: https://other/v1"):
        find("sft")(context)
    context.judges = (AllowedServer(served.url),)
    with database.transaction() as session:
        session.scalars(select(Guidelines)).one().rules = ""
    with pytest.raises(Invalid, match="no guidelines for a judge; write some, or give a rubric"):
        find("sft")(context)
    context.judges = (AllowedServer(served.url, "TINY_KEY"),)
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(Invalid, match="environment variable TINY_KEY, which is not set"):
        find("sft")(context)
    monkeypatch.setenv("TINY_KEY", "secret")
    with database.reader() as session:
        project = session.scalars(select(Project)).one()
    judge = RewardPart(PartKind.JUDGE, url=served.url, model="tiny", rubric="Be kind.")
    access = reward_reading.sources(context, project).judge(judge)
    assert (access.config.api_key, access.rubric.guidelines) == ("secret", "Be kind.")  # type: ignore[attr-defined]
    assert not served.requests


def test_scores_leave_out_what_the_judge_does_not_score(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    served.failures = [Failure(400, body="too long")]
    with database.transaction() as session:
        base = str(small.save_tiny_llama(tmp_path / "base"))
        project = guided(session, small.make_project(session, base_model=base))
        checkpoints.register_base(session, project, base)
        models = [model.id for model in scorings.models(session, project.id)]
        judge = ScorerChoice(RewardPart(PartKind.JUDGE, url=served.url, model="tiny"))
        wanted = PromptChoice(count=4)
        made = scorings.create(session, project, judge, models, wanted, user_id=None)
    context = small.claimed(database, tmp_path)
    context.judges = (AllowedServer(served.url),)
    find("score")(context)
    with database.reader() as session:
        scoring = scorings.get(session, made.project_id, made.id)
        assert scoring.title == "judge tiny"
        assert scorings.figures(session, scoring).sides[0].spread.n == 3
        assert "1 responses have no score: the judge refused" in scoring.remarks[0]
