"""The peak performance of the machine, measured with large matrix products."""

import platform
import time
from pathlib import Path

import torch

from worker.bench.workload import Dtype

SIZE = {"cpu": 2048, "cuda": 8192}
REPEATS = 5


def matmul_flops_per_s(dtype: Dtype, device: str) -> float:
    """Return the operations per second of square matrix products, the best of several."""
    size = SIZE[device]
    torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(torch_dtype) for _ in range(2))
    best = float("inf")
    for _ in range(REPEATS + 1):  # the first is a warm-up and never the best
        started = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def machine(device: str) -> dict[str, str | int]:
    """Return the machine and software versions."""
    description: dict[str, str | int] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": _processor(),
    }
    return description | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
