"""Names the labelers of votes without one, so that several votes on one comparison are all kept.

The n-th such vote on a comparison belongs to "unnamed n" of its file. The order in the file
decides, so importing the same file again yields the same names. Files are told apart by a hash of
their first records, so that two files with votes on the same comparisons remain two people.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from app.formats.records import (
    ComparisonRecord,
    Conversation,
    PreferenceRecord,
    Record,
    Rejected,
    UnpairedRecord,
)

Numbered = tuple[int, Record | Rejected]
_HEAD = 100


def named(outcomes: Iterable[Numbered]) -> Iterator[Numbered]:
    """Give every vote without a labeler's name a name of its own.

    Memory holds a short hash for each comparison with such votes.
    """
    stream = iter(outcomes)
    head = list(islice(stream, _HEAD))
    names = _Names(_file_tag(head))
    for number, outcome in chain(head, stream):
        yield number, outcome if isinstance(outcome, Rejected) else _named(outcome, names)


class _Names:
    """Counts the votes on each comparison, by a short hash of its contents."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.counts: Counter[bytes] = Counter()

    def next(self, messages: Conversation, texts: Iterable[str], kind: str) -> str:
        """Return the name for another vote; the order of the completions does not matter."""
        parts = [kind, *(part for turn in messages for part in turn), *sorted(texts)]
        key = hashlib.sha256("\0".join(parts).encode()).digest()[:8]
        self.counts[key] += 1
        return f"unnamed {self.counts[key]} of file {self.file}"


def _named(record: Record, names: _Names) -> Record:
    if isinstance(record, PreferenceRecord) and record.labeler is None:
        texts = [candidate.text for candidate in record.candidates]
        return replace(record, labeler=names.next(record.messages, texts, "order"))
    if isinstance(record, UnpairedRecord) and record.labeler is None:
        return replace(record, labeler=names.next(record.messages, [record.text], "thumbs"))
    if isinstance(record, ComparisonRecord):
        return _votes_named(record, names)
    return record


def _votes_named(record: ComparisonRecord, names: _Names) -> ComparisonRecord:
    if all(vote.labeler for vote in record.votes):
        return record
    texts = [candidate.text for candidate in record.candidates]
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
