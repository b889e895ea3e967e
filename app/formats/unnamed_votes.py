"""Names the labelers of votes without one, so that several votes on one comparison are all kept.

The n-th such vote on a comparison belongs to "unnamed n" of its file. The order in the file
decides, so importing the same file again yields the same names. Files are told apart by a hash of
their first records, so that two files with votes on the same comparisons remain two people.
"""

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from app.formats.records import (
    ComparisonRecord,
    CompletionText,
    Conversation,
    PreferenceRecord,
    Record,
    Rejected,
    UnpairedRecord,
)

Numbered = tuple[int, Record | Rejected]
_HEAD = 100
_NAME = re.compile(r"\bunnamed (\d+) of file ([0-9a-f]{8})\Z")


def named(outcomes: Iterable[Numbered], tag: str | None = None) -> Iterator[Numbered]:
    """Give every vote without a labeler's name a name of its own.

    ``tag`` is that of an earlier file with votes of the same people; by default, it is the file's.

    Memory holds a short hash for each comparison with such votes, some 24 bytes.
    """
    stream = iter(outcomes)
    head = list(islice(stream, _HEAD))
    names = _Names(tag or _file_tag(head))
    for number, outcome in chain(head, stream):
        yield number, outcome if isinstance(outcome, Rejected) else _named(outcome, names)


def parts(name: str) -> tuple[str, str] | None:
    """Return the number and the file's tag in a name from here, or None for other names."""
    found = _NAME.search(name)
    return (found[1], found[2]) if found else None


class _Names:
    """Counts the votes on each comparison, by a short hash of its contents."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.first = _Numbers()
        self.repeated: Counter[int] = Counter()

    def next(self, messages: Conversation, texts: Iterable[str], kind: str) -> str:
        """Return the name for another vote; the order of the completions does not matter."""
        parts = [kind, *(part for turn in messages for part in turn), *sorted(texts)]
        digest = hashlib.sha256("\0".join(parts).encode()).digest()[:8]
        key = int.from_bytes(digest, "big")
        if not self.first.add(key):
            self.repeated[key] += 1
        return f"unnamed {1 + self.repeated[key]} of file {self.file}"


class _Numbers:
    """A set of 64-bit numbers, in 16 to 32 bytes each: files have millions of comparisons."""

    def __init__(self) -> None:
        self._places = array("Q", bytes(8 << 10))
        self._count = 0

    def add(self, number: int) -> bool:
        """Add a number; return whether it is new."""
        number = number or 1  # 0 marks a free place
        if not self._put(number):
            return False
        self._count += 1
        if self._count * 2 > len(self._places):
            held, self._places = self._places, array("Q", bytes(16 * len(self._places)))
            for each in held:
                if each:
                    self._put(each)
        return True

    def _put(self, number: int) -> bool:
        places, last = self._places, len(self._places) - 1
        at = number & last
        while held := places[at]:
            if held == number:
                return False
            at = (at + 1) & last
        places[at] = number
        return True


def _named(record: Record, names: _Names) -> Record:
    if isinstance(record, PreferenceRecord) and record.labeler is None:
        texts = list(map(_whole, record.candidates))
        record.name_labeler(names.next(record.messages, texts, "order"))
        return record
    if isinstance(record, UnpairedRecord) and record.labeler is None:
        return replace(record, labeler=names.next(record.messages, [record.text], "thumbs"))
    if isinstance(record, ComparisonRecord):
        return _votes_named(record, names)
    return record


def _whole(candidate: CompletionText) -> str:
    if not candidate.earlier:
        return candidate.text
    return "\0".join(turn.content for turn in candidate.turns)


def _votes_named(record: ComparisonRecord, names: _Names) -> ComparisonRecord:
    if all(vote.labeler for vote in record.votes):
        return record
    texts = list(map(_whole, record.candidates))
    kind = "order" if record.kind in (None, "pick", "rank") else record.kind
    votes = tuple(
        vote if vote.labeler else replace(vote, labeler=names.next(record.messages, texts, kind))
        for vote in record.votes
    )
    return replace(record, votes=votes)


def _file_tag(head: Iterable[Numbered]) -> str:
    """Return a short hash of the first records of a file."""
    records = [outcome for _, outcome in head if not isinstance(outcome, Rejected)]
    return hashlib.sha256(repr(records).encode()).hexdigest()[:8]
