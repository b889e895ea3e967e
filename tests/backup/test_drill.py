"""The restore drill: a backup is taken while people label, and restored elsewhere."""

from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import schema
from app.db.base import Base
from app.domain.states import JobState
from app.errors import Conflict, LeaseLost
from app.models import Judgment, LoginSession
from app.services.jobs import job_leases, jobs
from app.services.people import audit
from tests.backup.worlds import World, snapshot_of, written_to


def test_a_backup_while_people_label_restores_to_the_same_bytes(
    world: World, elsewhere: World, tmp_path: Path
) -> None:
    world.fill().export()
    folder = tmp_path / "backups"
    folder.mkdir()
    with written_to(world):
        before = world.acknowledged
        done = world.backup(folder / "attune-20260101T000000Z.backup", shares=True)
        after = world.acknowledged
    artifacts = snapshot_of(world.folder / "artifacts")

    elsewhere.restore(done.path)
    elsewhere.project_id = world.project_id
    assert before <= elsewhere.count(Judgment) <= after + 1
    assert snapshot_of(elsewhere.folder / "artifacts") == artifacts
    restored, original = elsewhere.export(), world.export()
    assert restored.count(b"\n") == elsewhere.count(Judgment)
    assert original.startswith(restored)
    assert schema.drift(elsewhere.database.engine) == []
    with elsewhere.database.reader() as session:
        assert audit.broken_at(session) is None
    with elsewhere.database.transaction() as session:  # ids go on after those that were restored
        jobs.enqueue(session, kind="quick", queue="cpu", payload={})


def test_a_worker_from_before_the_restoration_is_fenced(world: World, tmp_path: Path) -> None:
    world.fill(votes=1)
    claimed = world.start_job()
    key = (claimed.job_id, claimed.lease_token)
    cancelled = world.start_job()
    with world.database.transaction() as session:
        jobs.cancel(session, cancelled.job_id, actor_id=None)
    done = world.backup(tmp_path / "a.backup")
    later = world.start_job()  # its id will be given again
    with pytest.raises(Conflict, match="not empty; --replace"):
        world.restore(done.path)
    restored = world.restore(done.path, replaces=True)
    assert restored.jobs_taken_back == 2

    again = world.start_job()  # takes the oldest: the one that ran
    assert (again.job_id, world.job(again.job_id).attempts) == (claimed.job_id, 1)
    assert world.job(cancelled.job_id).state == JobState.CANCELLED
    new = world.start_job()
    assert new.job_id == later.job_id
    for old in (key, (later.job_id, later.lease_token)):
        with world.database.transaction() as session, pytest.raises(LeaseLost):
            job_leases.succeed(session, *old, {})
    for token in (again.lease_token, new.lease_token):
        assert token > later.lease_token + 1
    assert again.lease_floor == new.lease_floor == again.lease_token - 1
    with world.database.reader() as session:
        outcomes = [attempt.outcome for attempt in jobs.attempts(session, claimed.job_id)]
    assert outcomes == ["", "restored"]
    assert world.count(LoginSession) == 0

    second = world.restore(done.path, replaces=True)  # the same backup once more
    assert second.jobs_taken_back == 2
    assert world.start_job().lease_token > new.lease_token


def test_the_replaced_database_is_kept_aside(world: World, tmp_path: Path) -> None:
    world.fill(votes=1)
    done = world.backup(tmp_path / "a.backup", has_artifacts=False)
    world.vote()
    with world.database.reader() as session:  # somebody has the database open
        session.execute(text("SELECT 1"))
    restored = world.restore(done.path, replaces=True)
    assert world.count(Judgment) == 1
    world.vote()
    if world.installation.kind == "sqlite":
        aside = World(type(world.database)(f"sqlite:///{restored.aside}"), tmp_path)
        assert aside.count(Judgment) == 2
        aside.database.dispose()
        return
    name = restored.aside.removeprefix("schema ")
    with world.database.engine.connect() as connection:
        assert connection.scalar(text(f"SELECT count(*) FROM {name}.judgment")) == 2
        left = connection.scalar(
            text("SELECT count(*) FROM pg_tables WHERE schemaname = :name"), {"name": name}
        )
        assert left == len(Base.metadata.tables) + 3  # the words, and the revision
