from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.db import Database
from app.errors import Invalid
from app.settings import Settings
from worker import main
from worker.cli import _queues
from worker.launcher import HostGroup


def test_a_worker_is_built_from_the_settings(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, job_lease_s=7, job_heartbeat_s=3, job_sweep_s=2)
    supervisor = main.build(settings, ["cpu"], "cpu")
    timing = supervisor.timing
    assert (timing.lease_s, timing.heartbeat_s, timing.sweep_s) == (7, 3, 2)
    assert supervisor.queues == ("cpu",)
    assert supervisor.places.artifacts == settings.artifacts


def test_hosts_that_share_jobs_meet_at_a_host_and_a_port(tmp_path: Path) -> None:
    here = Settings(data_dir=tmp_path, job_rendezvous="gpu-1:29400")
    assert main.build(here, ["gpu"], "cpu").places.group is None
    with pytest.raises(Invalid, match="ATTUNE_JOB_HOSTS of at least 2, not 1"):
        main.assistant(here)
    two = Settings(data_dir=tmp_path, job_hosts=2, job_rendezvous="gpu-1:29400")
    assert main.build(two, ["gpu"], "cpu").places.group == HostGroup(2, "gpu-1:29400")
    assert main.assistant(two).group == HostGroup(2, "gpu-1:29400")
    for wrong in ("", "gpu-1", "gpu-1:", ":29400", "gpu-1:many"):
        with pytest.raises(Invalid, match=f"as in gpu-1:29400, not '{wrong}'"):
            main.build(Settings(data_dir=tmp_path, job_hosts=2, job_rendezvous=wrong), ["gpu"])


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
