"""A data file and how to read it, without importing any reader."""

from dataclasses import dataclass
from pathlib import Path

from app.errors import Invalid
from worker import artifacts


@dataclass(frozen=True, slots=True)
class Source:
    """A file, its format, and whether to skip bad lines."""

    path: Path
    format: str | None = None
    skip_bad: bool = False

    @property
    def sha256(self) -> str:
        """The hash of its bytes. Raises Invalid if there is no such file."""
        return artifacts.hash_of(self.existing)

    @property
    def existing(self) -> Path:
        """Its path. Raises Invalid if there is no such file."""
        if not self.path.is_file():
            raise Invalid(f"there is no file {self.path}")
        return self.path
