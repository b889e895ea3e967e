"""How old the newest backup is, as the audit log tells."""

from datetime import timedelta

import pytest

from app.db import Database
from app.services.jobs import backups_taken
from app.services.jobs.backups_taken import BackupAge
from app.services.people import audit
from tests.services.jobs.test_job_leases import Clock

HOUR = 3600


def _age(database: Database, most_h: int = 48) -> BackupAge:
    with database.reader() as session:
        return backups_taken.age(session, most_h)


def test_the_age_is_that_of_the_newest_backup_or_of_the_installation(sqlite_url: str) -> None:
    clock = Clock()
    database = Database(sqlite_url, clock=clock)
    assert _age(database) == BackupAge(0.0, False, 48)
    with database.transaction() as session:
        audit.record(session, "user.create", "ada")
    clock.tick(49 * HOUR)
    assert _age(database) == BackupAge(49 * HOUR, False, 48)
    with database.transaction() as session:
        taken_at = clock() - timedelta(minutes=5)
        backups_taken.note(session, taken_at=taken_at, name="one.backup", has_artifacts=True)
        audit.record(session, "user.create", "bob")
    clock.tick(HOUR)
    assert _age(database) == BackupAge(HOUR + 300, True, 48)
    database.dispose()


@pytest.mark.parametrize(
    ("age", "is_old", "said"),
    [
        (BackupAge(30, True, 48), False, "the newest is a minute old"),
        (BackupAge(50 * 60, True, 48), False, "the newest is 50 minutes old"),
        (BackupAge(47 * HOUR, True, 48), False, "the newest is 47 hours old"),
        (BackupAge(49 * HOUR, True, 48), True, "the newest is 2 days old, and"),
        (BackupAge(49 * HOUR, False, 48), True, "none yet; the installation is 2 days old, and"),
        (BackupAge(9999 * HOUR, False, 0), False, "none yet; the installation is 416 days old"),
    ],
)
def test_a_warning_names_the_limit_and_what_to_do(age: BackupAge, is_old: bool, said: str) -> None:
    assert age.is_old is is_old
    assert str(age).startswith(said)
    assert ("ATTUNE_BACKUP_MAX_AGE_H is 48: run attune backup" in str(age)) is is_old
