"""The operator's list of the models that may be loaded, by hub name or by path.

A path is compared as the folder that it leads to, with `..` and links resolved, and so are the
folders that the list names. What is on the list is all that a refusal tells: it is the same for
folders that exist and for those that do not.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from typing import Final

from app.errors import Invalid

SETTING: Final = "ATTUNE_ALLOWED_BASE_MODELS"
EVERYTHING: Final = "*"
_WILD: Final = "*?["
_PATHS: Final = ("/", ".", "~")

Resolve = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class AllowedModels:
    """Patterns of hub names, such as `Qwen/*`, and of folders, such as `/models/*`.

    `*` alone allows everything; elsewhere it stands for any text, slashes included. Whatever the
    patterns are, nothing in the folders of `kept_out` is allowed: models that were trained here
    belong to their projects.
    """

    patterns: tuple[str, ...] = (EVERYTHING,)
    kept_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, setting: str, kept_out: Sequence[str] = ()) -> "AllowedModels":
        """Read the operator's setting, a list separated by commas; an empty one allows nothing.

        `kept_out` are folders; URLs among them are passed over, as no base model is read from one.
        """
        patterns = tuple(part.strip() for part in setting.split(",") if part.strip())
        folders = (folder.removeprefix("file://") for folder in kept_out)
        return cls(patterns, tuple(folder for folder in folders if "://" not in folder))

    def check(self, name: str, resolve: Resolve = os.path.realpath) -> None:
        """Refuse a model that is not on the list.

        Raises:
            Invalid: naming the model and the list.
        """
        if self._is_kept_out(name, resolve):
            raise Invalid(
                f"the model {name!r} is not allowed here: folders with models that were trained "
                "here are no base models; copy an exported model to a folder of its own"
            )
        if not self.allows(name, resolve):
            listed = ", ".join(self.patterns) or "none, so only the starter"
            raise Invalid(f"the model {name!r} is not allowed here ({SETTING}); allowed: {listed}")

    def allows(self, name: str, resolve: Resolve = os.path.realpath) -> bool:
        """Return whether a model is on the list, and not among the models trained here."""
        if self._is_kept_out(name, resolve):
            return False
        if EVERYTHING in self.patterns:
            return True
        if not is_path(name):
            named = (pattern for pattern in self.patterns if not pattern.startswith(_PATHS))
            return any(fnmatchcase(name, pattern) for pattern in named)
        folder = resolve(os.path.expanduser(name))
        folders = (pattern for pattern in self.patterns if pattern.startswith(_PATHS))
        return any(fnmatchcase(folder, _resolved(pattern, resolve)) for pattern in folders)

    def _is_kept_out(self, name: str, resolve: Resolve) -> bool:
        if not self.kept_out or not is_path(name):
            return False
        folder = os.path.join(resolve(os.path.expanduser(name)), "")
        return any(folder.startswith(os.path.join(resolve(root), "")) for root in self.kept_out)


EVERY_MODEL: Final = AllowedModels()


def is_path(name: str) -> bool:
    """Return whether a name is that of a folder: transformers prefers one to the hub's model."""
    return name.startswith(_PATHS) or ".." in name.split("/") or os.path.isdir(name)


def _resolved(pattern: str, resolve: Resolve) -> str:
    """Resolve the folder that a pattern begins with, up to its first wild card."""
    pattern = os.path.expanduser(pattern)
    wild = min((pattern.find(mark) for mark in _WILD if mark in pattern), default=len(pattern))
    if wild == len(pattern):
        return escape(resolve(pattern))
    folder, slash, start = pattern[:wild].rpartition("/")
    return escape(resolve(folder or "/")).rstrip("/") + slash + start + pattern[wild:]
