"""What the machine can do at most: how fast it multiplies large matrices."""

import platform
import time
from pathlib import Path

import torch

from worker.bench.workload import Dtype

SIZE = {"cpu": 2048, "cuda": 8192}
REPEATS = 5


def matmul_flops_per_s(dtype: Dtype, device: str) -> float:
    """Return the operations per second of square products, the best of a few."""
    size = SIZE[device]
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    best = float("inf")
    for _ in range(REPEATS + 1):  # the first warms up; it is never the best
        started = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def machine(device: str) -> dict[str, str | int]:
    """Say what the figures were measured on."""
    found: dict[str, str | int] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": _processor(),
    }
    return found | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
