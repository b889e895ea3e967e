"""Secrets that are shown once and stored as a hash."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Credential:
    """A new secret: shown once, stored as a hash."""

    id: int
    secret: str


def digest(secret: str) -> str:
    """Hash a secret as it is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()
