"""`python -m worker.runs JOB_ID LEASE_TOKEN`: the process of one job, started by a supervisor."""

import os
import sys
from importlib import import_module

# Several processes need torch from the start; a single one loads it only if its job computes.
is_shared = int(os.environ.get("WORLD_SIZE", "1")) > 1
module = import_module(f"worker.runs.process.{'distributed' if is_shared else 'job_process'}")
sys.exit(module.main())
