"""Access of a command to the server that samples: any that the person names.

The key and the folder for adapters come from the environment, as those of a worker do.
"""

import os
from typing import Final

from app.domain.server_plan import SamplingServerPlan
from worker.files.run_folder import RunFolder
from worker.training.served_sampling import SETTING, ServerAccess

KEY: Final = "ATTUNE_COMPLETION_SERVER_KEY"


def of(folder: RunFolder, plan: SamplingServerPlan | None) -> ServerAccess | None:
    """Return the access that a plan asks for; None: it asks for none."""
    if plan is None:
        return None
    adapters = os.environ.get(SETTING, "")
    key = os.environ.get(KEY) or None
    where = os.path.abspath(adapters) if adapters else ""
    return ServerAccess(plan, where, folder.run_name, "run", key=key)
