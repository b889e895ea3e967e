"""The versions of what decides whether a model can be used, read without loading any of it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

PACKAGES: Final = ("attune", "torch", "transformers", "peft")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the training packages."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
