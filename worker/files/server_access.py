"""Access of a command to the server that samples: any that the person names.

The key and the folder for adapters come from the environment, as those of a worker do.
"""

import hashlib
import os
import socket
from pathlib import Path
from typing import Final

from app.domain.server_plan import SamplingServerPlan
from worker.training.served_sampling import SETTING, ServerAccess

KEY: Final = "ATTUNE_COMPLETION_SERVER_KEY"
ATTEMPT: Final = "run"


def of(run_name: str, plan: SamplingServerPlan) -> ServerAccess:
    """Return the access that a plan asks for."""
    adapters = os.environ.get(SETTING, "")
    folder = str(Path(adapters).absolute()) if adapters else ""
    return ServerAccess(plan, folder, run_name, ATTEMPT, key=os.environ.get(KEY) or None)


def name_of(output: Path) -> str:
    """Return a name for what is written to a path of this machine; no other path has the same."""
    place = f"{socket.gethostname()}:{output.resolve()}"
    return f"run-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
