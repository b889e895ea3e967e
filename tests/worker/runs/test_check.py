"""The check of a base model as a job: what it keeps, what it refuses, and when it is repeated."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.allowed_models import AllowedModels
from app.domain.states import JobState
from app.errors import Invalid, NotReady
from app.models import Checkpoint, Job, Project
from app.services.checkpoints import base_models
from app.services.checkpoints.base_models import ChosenBase
from app.services.jobs import job_leases
from app.services.rounds import readiness
from tests.worker.runs import small
from worker.libraries import versions
from worker.runs import find
from worker.runs.check import run
from worker.runs.process import job_process
from worker.runs.process.job_context import JobContext

ANY = AllowedModels()


def chosen(database: Database, name: str) -> None:
    with database.transaction() as session:
        project = small.make_project(session, base_model=name)
        base_models.choose(session, project, ANY, actor_id=None)


def read(database: Database, of: Callable[[Session, Project], ChosenBase | None]) -> ChosenBase:
    with database.reader() as session:
        base = of(session, session.scalars(select(Project)).one())
        assert base is not None
        return base


def test_a_usable_model_is_ready_with_its_facts(database: Database, tmp_path: Path) -> None:
    name = str(small.save_tiny_llama(tmp_path / "base"))
    chosen(database, name)
    assert read(database, base_models.in_use).state == "checking"
    assert small.run_jobs(database, tmp_path) == ["check"]
    base = read(database, base_models.in_use)
    assert base.found is not None
    assert (base.state, base.refusal) == ("ready", "")
    assert base.found.model_type == "llama"
    assert 0 < base.found.trainable_parameters < base.found.parameters
    config = base.checkpoint.config
    assert config["check"]["libraries"] == versions()
    assert [end["token"] for end in config["ends"]] == ["</s>"]
    with database.transaction() as session:  # neither the name nor the libraries are new
        base_models.choose(session, session.scalars(select(Project)).one(), ANY, actor_id=None)
        assert base_models.recheck(session, versions()) == 0
        assert base_models.recheck(session, {**versions(), "transformers": "99"}) == 1
        assert base_models.recheck(session, {**versions(), "transformers": "99"}) == 1
    with database.reader() as session:
        states = session.scalars(select(Job.state).order_by(Job.id)).all()
    assert states == [JobState.SUCCEEDED, JobState.QUEUED], "a check under way is not doubled"


def test_a_missing_model_is_refused_once_and_blocks_the_round(
    database: Database, tmp_path: Path
) -> None:
    chosen(database, str(tmp_path / "nowhere"))
    assert small.run_jobs(database, tmp_path) == ["check"], "a refusal is a result: not retried"
    base = read(database, base_models.in_use)
    assert (base.state, base.job.attempts if base.job else 0) == ("refused", 1)
    assert "there is no folder" in base.refusal
    with database.reader() as session:
        project = session.scalars(select(Project)).one()
        with pytest.raises(NotReady, match="cannot be used: there is no folder") as refused:
            readiness.check(session, project, small.PLAN)
    assert refused.value.remedy == readiness.Remedy.BASE_MODEL


def test_the_worker_has_the_last_word_on_what_is_allowed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(small.save_tiny_llama(tmp_path / "base"))
    chosen(database, name)
    context = context_of(database, tmp_path, AllowedModels.of("/models/*"))
    monkeypatch.setattr("worker.training.model_check.check", lambda *_a, **_k: pytest.fail("read"))
    run(context)
    base = read(database, base_models.in_use)
    assert base.refusal.startswith(f"the model {name!r} is not allowed here")


def context_of(database: Database, folder: Path, allowed: AllowedModels) -> JobContext:
    with database.transaction() as session:
        claimed = job_leases.claim(session, "here", ["gpu"], lease_s=600)
    assert claimed is not None
    context = small.context_of(database, claimed, folder)
    context.allowed_models = allowed
    return context


@pytest.mark.parametrize("kind", ["sft", "generate"])
def test_a_round_on_a_missing_model_fails_for_good(
    database: Database, tmp_path: Path, kind: str
) -> None:
    plan = small.plan(sft=None) if kind == "generate" else small.PLAN
    gone = str(tmp_path / "gone")
    small.up_to(database, tmp_path, kind, plan, base_model=gone)
    context = context_of(database, tmp_path, ANY)
    with pytest.raises(Invalid, match="there is no folder"):
        job_process.run(context, find)
    with database.reader() as session:
        job = session.scalars(select(Job).where(Job.kind == kind)).one()
        assert (job.state, job.attempts) == (JobState.FAILED, 1)
        assert f"there is no folder {gone} on this worker's machine" in job.error


def test_the_newest_choice_is_the_base_not_the_newest_row(database: Database) -> None:
    chosen(database, "org/first")
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        for name in ("org/second", "org/first"):
            project.base_model = name
            base_models.choose(session, project, ANY, actor_id=None)
        assert len(session.scalars(select(Checkpoint)).all()) == 2
    assert read(database, base_models.in_use).name == "org/first"
