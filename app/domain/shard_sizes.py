"""How a job's work is cut into shards: by how much is left, how fast it goes, and who could help.

A helper starts a process and loads a model once, whatever it takes of the work. So sharing pays if
enough is left when it has started, and shards can be small: small enough that nobody waits long for
the last one, and that little is lost with a worker, but not so small that taking them costs time.
"""

import math
from typing import Final

PER_WORKER: Final = 16
"""Shards for each worker, so that one that is slower or later leaves its share to the others."""
LONGEST_S: Final = 60.0
"""What is done again at most when a worker is lost."""
START_S: Final = 10.0
"""From the moment that a helper is asked for until its process can load a model."""


def pays(chunks: int, chunk_s: float, load_s: float) -> bool:
    """Whether a helper would start in time to take a fair part of the work.

    Args:
        chunks: of work that are left.
        chunk_s: what one takes, as measured.
        load_s: what a helper needs to load the model, as measured.
    """
    return chunks > 1 and chunks * chunk_s > 2 * (START_S + load_s)


def chunks_per_shard(chunks: int, chunk_s: float, workers: int) -> int:
    """Return how many chunks a shard has: at least one, and at most a minute's work."""
    fair = chunks // (PER_WORKER * workers)
    longest = math.floor(LONGEST_S / chunk_s) if chunk_s > 0 else chunks
    return max(1, min(fair, longest))
