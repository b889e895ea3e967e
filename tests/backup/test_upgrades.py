"""Upgrades: backed up, migrated, verified, and undone on request or after a fault."""

from datetime import UTC, datetime, tzinfo
from itertools import count

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from app.backup import upgrades
from app.backup.backup_progress import NoProgress
from app.backup.upgrades import UpgradeDone
from app.db import Database, schema
from app.errors import NotFound, Unavailable
from app.models import Judgment
from tests.backup.worlds import World

BEFORE = "c81f5d2e7a40"
"""The revision before restorations were kept: going back to it must not need their table."""


def upgrade(world: World, said: list[str] | None = None) -> UpgradeDone:
    return upgrades.upgrade(
        world.installation, "1.2", NoProgress(), (said if said is not None else []).append
    )


def within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all upgrades happen within one second."""
    moment, microseconds = datetime.now(UTC), count(1)

    class Clock:
        @staticmethod
        def now(tz: tzinfo | None = None) -> datetime:
            return moment.replace(microsecond=next(microseconds)).astimezone(tz)

    monkeypatch.setattr(upgrades, "datetime", Clock)


def judgments(world: World) -> int:
    with world.database.engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM judgment")) or 0


def test_an_upgrade_can_be_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    within_a_second(monkeypatch)
    world.fill(votes=2)
    assert upgrade(world).backup is None
    with pytest.raises(NotFound, match="no upgrade to go back from"):
        upgrades.go_back(world.installation, NoProgress())
    schema.downgrade(world.database.engine, BEFORE)
    said: list[str] = []
    done = upgrade(world, said)
    assert (done.before, done.after) == (BEFORE, schema.head())
    assert [line.split()[0] for line in said] == ["Backing", "Wrote", "Migrating", "Verifying"]
    world.vote()
    assert world.count(Judgment) == 3

    back = upgrades.go_back(world.installation, NoProgress())
    assert (back.revision, judgments(world)) == (BEFORE, 2)
    assert back.aside
    assert not inspect(world.database.engine).has_table("restoration")
    upgrade(world)
    assert schema.drift(world.database.engine) == []


@pytest.mark.parametrize("fault", ["fails", "loses"])
def test_a_fault_leaves_the_database_as_it_was(
    world: World, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(votes=1)
    schema.downgrade(world.database.engine, BEFORE)
    migrate = schema.upgrade

    def faulty(engine: object, revision: str = "head") -> None:
        if fault == "fails":
            raise OperationalError("ALTER TABLE judgment …", {}, Exception("disk I/O error"))
        migrate(world.database.engine)
        with world.database.engine.execution_options(attune_writes=True).begin() as connection:
            connection.execute(text("DELETE FROM judgment"))

    monkeypatch.setattr(schema, "upgrade", faulty)
    reasons = {
        "fails": rf"failed and was undone; .* at revision {BEFORE} as before: .*disk I/O error",
        "loses": "was undone, and the database is as it was: table judgment has 0 rows",
    }
    with pytest.raises(Unavailable, match=reasons[fault]):
        upgrade(world)
    assert (schema.revision(world.database.engine), judgments(world)) == (BEFORE, 1)


def test_a_database_of_a_newer_version_is_left_alone(small_world: World) -> None:
    database: Database = small_world.database
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'ffffffffffff'"))
    with pytest.raises(Exception, match="does not know: install the newer version"):
        upgrade(small_world)
