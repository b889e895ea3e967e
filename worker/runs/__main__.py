"""`python -m worker.runs JOB_ID LEASE_TOKEN`: the process of one job, started by a supervisor."""

import sys

from worker.runs.process import job_process

sys.exit(job_process.main())
