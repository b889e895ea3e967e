"""A full disk and an outage are each named in one sentence, and worth another try."""

import errno
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from app.errors import Invalid
from worker.runs.process import failures


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


FULL = OSError(errno.ENOSPC, "No space left on device", "/data/work/x.safetensors")


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (FULL, " at /data/work/x.safetensors"),
        (caused(RuntimeError("could not be saved"), FULL), " at /data/work/x.safetensors"),
        (RuntimeError('IoError(Os { code: 28, kind: StorageFull, message: "…" })'), ""),
        (RuntimeError("database or disk is full"), ""),
    ],
)
def test_a_full_disk_is_named_in_one_sentence(error: Exception, place: str) -> None:
    said = f"the disk is full{place}; free some space, and the job goes on when retried"
    assert failures.describe(error) == said
    assert failures.is_transient(error)


def test_an_outage_of_the_database_is_named_and_passes() -> None:
    gone = OperationalError("INSERT …", {}, ConnectionError("server closed the connection"))
    assert failures.describe(gone) == "the database did not respond while the job used it"
    assert failures.is_transient(gone)
    wrong = OperationalError("q", {}, sqlite3.OperationalError("no such table: job"))
    assert not failures.is_transient(wrong)


def test_other_errors_are_told_as_they_are() -> None:
    assert failures.describe(Invalid("the model x is not there")) == "the model x is not there"
    assert failures.describe(KeyError("a")) == "KeyError: 'a'"
    assert not failures.is_transient(Invalid("the model x is not there"))
    assert failures.is_transient(ConnectionResetError("gone"))


def test_a_missing_model_is_not_tried_again() -> None:
    missing = OSError("org/model is not a local folder and is not a valid model identifier")
    assert not failures.is_transient(missing)
    assert failures.is_transient(OSError(errno.EIO, "Input/output error"))
