"""What a supervisor passes to a job's process, as one line on its standard input.

Later lines are orders. End of file means that the supervisor is gone. No secret is on the command
line or in the environment.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from app.domain.allowed_models import EVERY_MODEL, AllowedModels
from app.domain.judges.servers import AllowedServer
from app.services.jobs.job_leases import ClaimedJob
from worker.launcher import HostGroup

EXIT_FENCED: Final = 71  # the lease was lost; another worker has the job
EXIT_ORPHANED: Final = 72  # the supervisor is gone


@dataclass(frozen=True, slots=True)
class Servers:
    """Servers that jobs may call, and the API keys sent with every request.

    `urls` are OpenAI-compatible servers, `reward_urls` endpoints that score responses. Adapters for
    the former are put into `adapter_folder`, which is empty where there is none.
    """

    urls: tuple[str, ...] = ()
    key: str | None = field(default=None, repr=False)
    reward_urls: tuple[str, ...] = ()
    reward_key: str | None = field(default=None, repr=False)
    adapter_folder: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Paths and resources of a worker on this machine.

    Attributes:
        artifacts: a folder or an fsspec URL, shared by all workers.
        work: a local folder for logs, training states and downloads.
        device: "auto", "cpu", "cuda" or another torch device.
        servers: that jobs may call for completions and scores.
        processes: the most that a training job may use on this host; one per GPU.
        judges: servers for AI judges, with the names of the variables that hold their keys.
        allowed_models: the base models that may be loaded.
        group: the hosts that share each training job; None: this one alone.
    """

    artifacts: str
    work: Path
    device: str = "auto"
    servers: Servers = Servers()
    processes: int = 1
    judges: tuple[AllowedServer, ...] = ()
    allowed_models: AllowedModels = EVERY_MODEL
    group: HostGroup | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A claimed job and everything its process needs to run it."""

    claimed: ClaimedJob
    database_url: str
    places: Places
    supervisor_pid: int

    def to_line(self) -> str:
        """Return the ticket as one line of JSON."""
        return json.dumps(asdict(self), default=str) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Ticket":
        """Read what `to_line` wrote."""
        content = json.loads(line)
        places = content["places"]
        called, models, group = places["servers"], places["allowed_models"], places["group"]
        servers = Servers(
            tuple(called["urls"]),
            called["key"],
            tuple(called["reward_urls"]),
            called["reward_key"],
            called["adapter_folder"],
        )
        return cls(
            claimed=ClaimedJob(**content["claimed"]),
            database_url=content["database_url"],
            places=Places(
                places["artifacts"],
                Path(places["work"]),
                places["device"],
                servers,
                places["processes"],
                tuple(AllowedServer(**server) for server in places["judges"]),
                AllowedModels(tuple(models["patterns"]), tuple(models["kept_out"])),
                group and HostGroup(**group),
            ),
            supervisor_pid=content["supervisor_pid"],
        )
