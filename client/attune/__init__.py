"""Attune from notebooks and scripts: `attune.connect(url, token)`.

This package is the client alone; it knows nothing of the server's code and does not load it.
"""

from attune.errors import (
    ClientError,
    Conflict,
    DownloadDamaged,
    Forbidden,
    Invalid,
    JobFailed,
    NotConnected,
    NotFound,
    PackageMissing,
    RequestRefused,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    WaitedTooLong,
)
from attune.project import Project
from attune.rows import Rows
from attune.server import Attune, connect
from attune.types import (
    Checkpoint,
    Export,
    ImportResult,
    ProjectInfo,
    Round,
    RoundProgress,
    Verdict,
)

__all__ = [
    "Attune",
    "Checkpoint",
    "ClientError",
    "Conflict",
    "DownloadDamaged",
    "Export",
    "Forbidden",
    "ImportResult",
    "Invalid",
    "JobFailed",
    "NotConnected",
    "NotFound",
    "PackageMissing",
    "Project",
    "ProjectInfo",
    "RequestRefused",
    "Round",
    "RoundProgress",
    "Rows",
    "TooManyRequests",
    "Unauthenticated",
    "Unavailable",
    "Verdict",
    "WaitedTooLong",
    "connect",
]
