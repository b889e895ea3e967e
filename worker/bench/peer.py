"""A peer's program, run to its end on a case folder; it prints its result as a line of JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parents[2]


def run(python: Path, module: str, folder: Path) -> dict[str, Any]:
    """Run a module in a peer's interpreter and return its result.

    Raises:
        RuntimeError: if it fails, with the end of its error output.
    """
    done = subprocess.run(
        [str(python), "-m", module, str(folder)],
        cwd=SOURCES,
        env=os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr.strip()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def print_line(line: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
