"""How far a backup or a restoration is, for whoever shows it."""

from typing import Protocol


class BackupProgress(Protocol):
    """Is told of stages and of bytes."""

    def begin(self, stage: str, total: int) -> None:
        """Begin a stage of about `total` bytes."""

    def advance(self, count: int) -> None:
        """Count bytes of the current stage."""


class NoProgress:
    """Shows nothing."""

    def begin(self, stage: str, total: int) -> None:
        """Do nothing."""

    def advance(self, count: int) -> None:
        """Do nothing."""
