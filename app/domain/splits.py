"""The assignment of prompts to the training, validation and test split, by content.

A prompt lands in the same split in every round, copy of a project and re-import, because the split
depends only on its content and the shares. Storing the split is left to callers.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.errors import Invalid

_BUCKETS = 1 << 64


class Split(StrEnum):
    """What a prompt may be used for; it never changes."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Shares:
    """The percentage of prompts in each split."""

    train: int = 80
    validation: int = 10
    test: int = 10

    def __post_init__(self) -> None:
        parts = (self.train, self.validation, self.test)
        if min(parts) < 0 or sum(parts) != 100:
            raise Invalid(f"split shares must be at least 0 and add up to 100, not {parts}")


def content_hash(turns: Iterable[tuple[str, str]]) -> str:
    """Hash a conversation of (role, content) turns, as 64 hexadecimal digits.

    Differences in Unicode normalization, line endings and whitespace around a turn do not count:
    two prompts that read the same must not land in different splits.
    """
    plain = [[role, _plain(content)] for role, content in turns]
    encoded = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return hashlib.sha256(encoded).hexdigest()


def split_of(prompt_hash: str, shares: Shares | None = None) -> Split:
    """Assign the split of a prompt from its content hash."""
    used = shares or Shares()
    bucket = _bucket("split:", prompt_hash)
    if bucket < _BUCKETS * used.train // 100:
        return Split.TRAIN
    if bucket < _BUCKETS * (used.train + used.validation) // 100:
        return Split.VALIDATION
    return Split.TEST


def uniform(use: str, prompt_hash: str) -> float:
    """Return a number in [0, 1) from a content hash, independent of the split and of other uses."""
    return (_bucket(use, prompt_hash) >> 11) / (1 << 53)


def _bucket(use: str, prompt_hash: str) -> int:
    # Hashed again with a prefix, so that the uses of the hash are independent of each other.
    digest = hashlib.sha256(f"{use}{prompt_hash}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
