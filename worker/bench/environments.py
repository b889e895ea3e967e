"""The peers' virtual environments: created once, kept in a cache folder, separate from ours.

torch is pinned to the version in use here, so that both sides multiply with the same library.
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
    """A peer's environment: the name of its folder, and its requirements."""

    name: str
    requirements: tuple[str, ...]


REWARD = Environment("trl-1.16", ("trl==1.16.*", "datasets", "peft"))
PPO = Environment("trl-1.12", ("trl==1.12.*", "transformers==5.17.*", "datasets", "peft"))


def python_of(environment: Environment, cache: Path, tell: Callable[[str], None]) -> Path:
    """Return the interpreter of an environment, which is created if it does not exist.

    Raises:
        RuntimeError: if the installation fails, with the end of its output.
    """
    folder = cache / environment.name
    python = folder / "bin" / "python"
    requirements = "\n".join((_torch(), *environment.requirements))
    marker = folder / MARKER
    if marker.exists() and marker.read_text() == requirements:
        return python
    tell(f"installing {', '.join(environment.requirements)} into {folder} (once)")
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", _torch(), *environment.requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cannot install {environment.name}: {done.stderr.strip()[-800:]}")
    marker.write_text(requirements)
    return python


def ours() -> Path:
    """Return the interpreter of this process."""
    return Path(sys.executable)


def _torch() -> str:
    return f"torch=={torch.__version__.split('+')[0]}"
