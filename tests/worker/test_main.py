from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.db import Database
from app.errors import Invalid
from app.settings import Settings
from worker import main
from worker.cli import _queues


def test_a_worker_is_built_from_the_settings(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, job_lease_s=7, job_heartbeat_s=3, job_sweep_s=2)
    supervisor = main.build(settings, ["cpu"], "cpu")
    timing = supervisor.timing
    assert (timing.lease_s, timing.heartbeat_s, timing.sweep_s) == (7, 3, 2)
    assert supervisor.queues == ("cpu",)
    assert supervisor.places.artifacts == settings.artifacts


def test_sqlite_is_left_as_it_is() -> None:
    assert main.impatient("sqlite:////tmp/a.sqlite3") == "sqlite:////tmp/a.sqlite3"


@pytest.mark.services
def test_postgres_ends_what_a_frozen_worker_left_open(postgres_url: str) -> None:
    own = make_url(postgres_url).update_query_dict({"options": "-c statement_timeout=5000"})
    database = Database(main.impatient(own.render_as_string(hide_password=False)))
    with database.reader() as session:
        ends = session.scalar(text("SHOW idle_in_transaction_session_timeout"))
        kept = session.scalar(text("SHOW statement_timeout"))
    database.dispose()
    assert (ends, kept) == ("20s", "5s")


def test_an_unknown_queue_is_named() -> None:
    assert _queues("gpu, cpu") == ["gpu", "cpu"]
    with pytest.raises(Invalid, match="no queue 'tpu'"):
        _queues("tpu")


def test_the_device_is_told_without_torch() -> None:
    assert main.describe_device("cpu").startswith("CPU, ")
