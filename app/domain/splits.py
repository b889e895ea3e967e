"""The assignment of prompts to the training, validation and test split, by content.

A prompt lands in the same split in every round, copy of a project and re-import, because the split
depends only on how its conversation begins and on the shares. Conversations that begin alike are a
group and stay together, so that no turn of a training conversation is evaluated on. Storing the
split is left to callers.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.errors import Invalid

_BUCKETS = 1 << 64
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


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
    return hashlib.sha256(_to_json(plain).encode()).hexdigest()


def group_hash(turns: Iterable[tuple[str, str]]) -> str:
    """Hash how a conversation begins: its turns up to and including the first user turn.

    The prompts of one conversation share it, also where one continues the other. A system turn
    counts together with the user turn that follows, so a system prompt alone groups nothing. For a
    prompt of one user turn it is the content hash.
    """
    beginning: list[tuple[str, str]] = []
    for role, content in turns:
        beginning.append((role, content))
        if role == "user":
            break
    return content_hash(beginning)


def shared_split(members: Iterable[Split]) -> Split | None:
    """Return the split for a new member of a group, or None if the group has no members.

    Groups from before splits were assigned by group may be in several splits. Training is the
    first choice, because another test prompt with training relatives would only add to the leak.
    """
    present = set(members)
    return next((split for split in Split if split in present), None)


def split_of(prompt_hash: str, shares: Shares | None = None) -> Split:
    """Assign the split of a prompt from the hash of its group."""
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
