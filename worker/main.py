"""Builds a worker: its supervisor from the settings, and the Celery application that wakes it.

Celery carries wake-ups and nothing else: no results, no retries, no schedule. Its pool of one
thread keeps the consumer responsive while a job runs; the supervisor manages the job's process.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from celery import Celery
from celery.signals import worker_shutting_down
from sqlalchemy import make_url

from app import queue as broker
from app.db import Database
from app.domain import allowed_servers
from app.domain.allowed_models import AllowedModels
from app.domain.judges import servers
from app.errors import Invalid
from app.services.jobs.workers import Description
from app.settings import Settings
from worker.assistant import Assistant
from worker.heart import Timing
from worker.launcher import HostGroup
from worker.supervisor import Supervisor
from worker.sweeper import Sweeper
from worker.ticket import Places, Servers

FROZEN_MS: Final = 20_000

celery = Celery("attune", set_as_current=False, include=["worker.tasks"])


class Duty:
    """The supervisor that this process's Celery tasks work for."""

    supervisor: Supervisor | None = None


def build(settings: Settings, queues: Sequence[str], device: str = "auto") -> Supervisor:
    """Make a supervisor from the settings."""
    timing = Timing(
        lease_s=settings.job_lease_s,
        heartbeat_s=settings.job_heartbeat_s,
        sweep_s=settings.job_sweep_s,
        # `up` waits 20 s for its worker to end; an operator's own service manager may wait longer.
        grace_s=15.0 if settings.is_embedded else 30.0,
    )
    places = Places(
        settings.artifacts,
        settings.work.absolute(),
        device,
        _servers(settings),
        settings.job_processes,
        servers.allowed(settings.judge_servers),
        AllowedModels.of(settings.base_models, settings.trained_models),
        group_of(settings),
    )
    database = Database(impatient(settings.database), pool_size=4)
    return Supervisor(database, places, queues=queues, timing=timing)


def group_of(settings: Settings) -> HostGroup | None:
    """Return the hosts that share each training job; None: this one alone.

    Raises:
        Invalid: there are several, and the place where they meet is not a host and a port.
    """
    if settings.job_hosts == 1:
        return None
    host, _, port = settings.job_rendezvous.rpartition(":")
    if not host or not port.isdecimal():
        raise Invalid(
            f"ATTUNE_JOB_HOSTS is {settings.job_hosts}, so ATTUNE_JOB_RENDEZVOUS must be the first "
            f"host's name and a free port, as in gpu-1:29400, not {settings.job_rendezvous!r}"
        )
    return HostGroup(settings.job_hosts, settings.job_rendezvous)


def assistant(settings: Settings, device: str = "auto") -> Assistant:
    """Make what lends this host to the training jobs of another one.

    Raises:
        Invalid: the settings name no group of hosts.
    """
    group = group_of(settings)
    if group is None:
        raise Invalid("a host that assists another needs ATTUNE_JOB_HOSTS of at least 2, not 1")
    return Assistant(group, settings.job_processes, settings.work.absolute(), device)


def _servers(settings: Settings) -> Servers:
    keys = (settings.completion_server_key, settings.reward_endpoint_key)
    key, reward_key = (None if one is None else one.get_secret_value() for one in keys)
    urls = allowed_servers.listed(settings.completion_servers)
    reward_urls = allowed_servers.listed(settings.reward_endpoints)
    folder = settings.adapter_folder
    adapters = "" if folder is None else str(folder.absolute())
    return Servers(urls, key, reward_urls, reward_key, adapters)


def impatient(database_url: str) -> str:
    """Let PostgreSQL end a transaction whose worker froze; its locks would block others."""
    url = make_url(database_url)
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        return database_url
    options = f"{url.query.get('options', '')} -c idle_in_transaction_session_timeout={FROZEN_MS}"
    patched = url.update_query_dict({"options": options.strip()})
    return patched.render_as_string(hide_password=False)


def sweeping(supervisor: Supervisor) -> Sweeper:
    """Return the sweeper that goes with a supervisor; enter it to start."""
    device = describe_device(supervisor.places.device)
    return Sweeper(
        supervisor, Description(supervisor.name, supervisor.queues, device, version("attune"))
    )


def consume(supervisor: Supervisor, broker_url: str, log_level: str = "info") -> None:
    """Run jobs on the broker's wake-ups until the process is told to stop.

    Beside them the worker polls slowly, so that jobs run while the broker is away.
    """
    Duty.supervisor = supervisor
    celery.conf.update(broker.configuration(broker_url), worker_hijack_root_logger=False)
    worker_shutting_down.connect(_stop)
    names = ",".join(broker.broker_queue(queue) for queue in supervisor.queues)
    poller = threading.Thread(target=supervisor.poll_slowly, name="poller")
    with sweeping(supervisor):
        poller.start()
        try:
            celery.worker_main(
                [
                    "worker",
                    "--pool=threads",
                    "--concurrency=1",
                    "--without-gossip",
                    "--without-mingle",
                    f"--queues={names}",
                    f"--hostname={supervisor.name}@%h",
                    f"--loglevel={log_level}",
                ]
            )
        finally:
            supervisor.stop()
            poller.join()


def drain(queue: str) -> int:
    """Run this queue's jobs until there are none; return how many ran."""
    return 0 if Duty.supervisor is None else Duty.supervisor.drain([queue])


def describe_device(device: str) -> str:
    """Describe the device this worker computes on, without loading torch."""
    cores = f"CPU, {os.cpu_count()} cores"
    tool = shutil.which("nvidia-smi")
    if device == "cpu" or tool is None:
        return cores
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    listing = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    names = [line.strip() for line in listing.stdout.splitlines() if line.strip()]
    if listing.returncode != 0 or not names:
        return cores
    return f"{len(names)} × {names[0]}" if len(names) > 1 else names[0]


def _stop(**_details: object) -> None:
    if Duty.supervisor is not None:
        Duty.supervisor.stop()
