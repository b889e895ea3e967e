"""Which split a prompt belongs to, decided once by what it says.

The same prompt lands in the same split in every round, project copy and re-import, because nothing
but its content and the shares enter. Storing the answer is left to others.
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
    """What a prompt may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Shares:
    """How many prompts in a hundred go to each split."""

    train: int = 80
    validation: int = 10
    test: int = 10

    def __post_init__(self) -> None:
        parts = (self.train, self.validation, self.test)
        if min(parts) < 0 or sum(parts) != 100:
            raise Invalid(f"split shares must be 0 or more and sum to 100, not {parts}")


def content_hash(turns: Iterable[tuple[str, str]]) -> str:
    """Hash a conversation of (role, content) turns, as 64 hexadecimal digits.

    Unicode spelling (NFC), line ends and space around a turn do not count: two prompts that read
    the same must not end in different splits.
    """
    plain = [[role, _plain(content)] for role, content in turns]
    encoded = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return hashlib.sha256(encoded).hexdigest()


def split_of(prompt_hash: str, shares: Shares | None = None) -> Split:
    """Assign the split of a prompt from its content hash."""
    given = shares or Shares()
    # Hashed again under a name of its own, so that no other use of the hash is tied to the split.
    digest = hashlib.sha256(b"split:" + prompt_hash.encode()).digest()
    bucket = int.from_bytes(digest[:8], "big")
    if bucket < _BUCKETS * given.train // 100:
        return Split.TRAIN
    if bucket < _BUCKETS * (given.train + given.validation) // 100:
        return Split.VALIDATION
    return Split.TEST


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
