"""A data file and how it is read, without loading anything that reads it."""

from dataclasses import dataclass
from pathlib import Path

from app.errors import Invalid
from worker import artifacts


@dataclass(frozen=True, slots=True)
class Source:
    """A file, how to read it, and what becomes of its bad lines."""

    path: Path
    format: str | None = None
    skip_bad: bool = False

    @property
    def sha256(self) -> str:
        """The hash of its bytes. Raises Invalid where there is no such file."""
        return artifacts.hash_of(self.existing)

    @property
    def existing(self) -> Path:
        """Its path. Raises Invalid where there is no such file."""
        if not self.path.is_file():
            raise Invalid(f"there is no file {self.path}")
        return self.path
