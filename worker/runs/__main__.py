"""`python -m worker.runs JOB_ID LEASE_TOKEN`: the process of one job, started by a supervisor."""

import os
import sys
from importlib import import_module

from worker.loading import load_aside

# Several processes need torch from the start; a single one loads it only if its job computes.
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    module = import_module("worker.runs.process.distributed")
else:
    module = load_aside("worker.runs.process.job_process")
sys.exit(module.main())
