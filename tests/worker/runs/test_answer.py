"""Models answer the same prompts in a job, once however often it is asked for."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Checkpoint, Completion, Job, Split
from app.services.checkpoints import checkpoints, response_jobs, side_by_side
from app.services.checkpoints.side_by_side import PairFilter
from app.services.project import projects
from tests.worker.runs import small


def _enqueue(database: Database) -> PairFilter:
    with database.transaction() as session:
        project = projects.by_slug(session, "small")
        models = checkpoints.of_project(session, project.id)
        names = [f"model-{model.id}" for model in models]
        response_jobs.enqueue(session, project, names, 3, Split.TEST, user_id=None)
        return PairFilter(names[0], names[-1])


def _completions(session: Session) -> list[tuple[int | None, int]]:
    rows = session.scalars(select(Completion).order_by(Completion.id))
    return [(row.checkpoint_id, row.prompt_id) for row in rows]


def test_both_models_answer_each_prompt_once(database: Database, tmp_path: Path) -> None:
    with database.transaction() as session:
        project = small.make_project(
            session, base_model=str(small.save_tiny_llama(tmp_path / "base"))
        )
        checkpoints.register_base(session, project, str(tmp_path / "base"))
        other = small.save_tiny_llama(tmp_path / "other")
        session.add(
            Checkpoint(
                project_id=project.id,
                kind="base",
                name="Other",
                uri=str(other),
                created_at=project.created_at,
            )
        )
    for _ in range(2):
        wanted = _enqueue(database)
        assert small.run_jobs(database, tmp_path) == ["answer"]
    with database.reader() as session:
        assert [job.result for job in session.scalars(select(Job))] == [{"completions": 6}] * 2
        made = _completions(session)
        assert len(made) == len(set(made)) == 6
        assert set(session.scalars(select(Completion.instruction_version))) == {1}
        found = side_by_side.page(session, project.id, wanted)
        assert found.totals.pairs == 3


def test_a_new_instruction_is_answered_anew(database: Database, tmp_path: Path) -> None:
    with database.transaction() as session:
        base = str(small.save_tiny_llama(tmp_path / "base"))
        project = small.make_project(session, base_model=base)
        checkpoints.register_base(session, project, base)
    for text in ("Answer shortly.", "Answer at length.", "Answer shortly. "):
        with database.transaction() as session:
            project = projects.by_slug(session, "small")
            projects.edit(session, project, {"instruction": text}, actor_id=1)
        _enqueue(database)
        small.run_jobs(database, tmp_path)
    with database.reader() as session:
        versions = list(session.scalars(select(Completion.instruction_version)))
    assert sorted(versions) == [1] * 3 + [2] * 3 + [3] * 3


def test_a_job_answers_under_the_instruction_of_its_time(
    database: Database, tmp_path: Path
) -> None:
    with database.transaction() as session:
        base = str(small.save_tiny_llama(tmp_path / "base"))
        project = small.make_project(session, base_model=base)
        checkpoints.register_base(session, project, base)
    _enqueue(database)
    with database.transaction() as session:
        project = projects.by_slug(session, "small")
        projects.edit(session, project, {"instruction": "Answer at length."}, actor_id=1)
    small.run_jobs(database, tmp_path)
    with database.reader() as session:
        assert set(session.scalars(select(Completion.instruction_version))) == {1}
