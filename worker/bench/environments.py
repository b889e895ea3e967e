"""The peers' virtual environments: made once, kept in a cache folder, never mixed with ours.

torch is pinned to our own version, so that both sides multiply with the same library.
"""

import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

CACHE = Path.home() / ".cache" / "attune" / "bench"
MARKER = ".attune-complete"


@dataclass(frozen=True, slots=True)
class Environment:
    """A peer's environment: its folder's name, and what is installed."""

    name: str
    requirements: tuple[str, ...]


REWARD = Environment("trl-1.16", ("trl==1.16.*", "datasets", "peft"))
PPO = Environment("trl-1.12", ("trl==1.12.*", "transformers==5.17.*", "datasets", "peft"))


def python_of(environment: Environment, cache: Path, tell: Callable[[str], None]) -> Path:
    """Return the interpreter of an environment, which is made if it is not there yet.

    Raises:
        RuntimeError: if installing fails, with the end of what the installer said.
    """
    folder = cache / environment.name
    python = folder / "bin" / "python"
    wanted = "\n".join((_torch(), *environment.requirements))
    marker = folder / MARKER
    if marker.exists() and marker.read_text() == wanted:
        return python
    tell(f"installing {', '.join(environment.requirements)} into {folder} (once)")
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", _torch(), *environment.requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cannot install {environment.name}: {done.stderr.strip()[-800:]}")
    marker.write_text(wanted)
    return python


def ours() -> Path:
    """Return the interpreter that runs this."""
    return Path(sys.executable)


def _torch() -> str:
    return f"torch=={torch.__version__.split('+')[0]}"
