"""Job runs that sample as slowly as a large model does, started like `tests.faults.fake_runs`.

A chunk of prompts waits, as for a GPU, so that what is measured is how work is shared and not how
busy the processors of this machine are.
"""

import sys
import time
from typing import Any

from app.domain import shard_sizes
from worker.runs.data import sampled_completions
from worker.runs.process import job_process

CHUNK_PROMPTS = 4
CHUNK_S = 1.0

_sample: Any = sampled_completions._sample


def sample(*arguments: Any) -> Any:
    """Sample, and take a second for a chunk."""
    began = time.monotonic()
    drawn = _sample(*arguments)
    time.sleep(max(CHUNK_S - (time.monotonic() - began), 0.0))
    return drawn


if __name__ == "__main__":
    sampled_completions.CHUNK_PROMPTS = CHUNK_PROMPTS
    sampled_completions._sample = sample  # type: ignore[assignment]
    shard_sizes.START_S = 0.0  # type: ignore[misc]
    sys.exit(job_process.main())
