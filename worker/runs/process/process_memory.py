"""The most memory that this process has taken; a job has a process of its own."""

import resource
import sys

import torch


def peak_bytes(device: str) -> int:
    """Return the peak on the device, or on a processor that of the whole process."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved(device))
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
