"""Data files as what the loops take: rows read, bad lines named, prompts held out.

Every format of the product is known here too. What a line cannot give is an error with its number,
unless it was asked to go on without.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.domain import splits, vote_shares
from app.domain.splits import Shares, Split
from app.errors import Invalid
from app.formats import fields, registry
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    UnpairedRecord,
    VoteRecord,
)
from worker.files.source import Source
from worker.rlhf.core.examples import AbsoluteFeedback, PreferencePair
from worker.training import vote_weights

CHUNK: Final = 1 << 16
SHOWN: Final = 5  # bad lines that an error spells out

Turns = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class FilePrompt:
    """A prompt of a file; `key` says what it says, so that equal prompts get equal answers."""

    line: int
    key: str
    messages: Turns
    source_id: str | None = None
    meta: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class FileDemonstration:
    """A prompt with the answer to imitate."""

    line: int
    key: str
    messages: Turns
    text: str


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A prompt with its completions and what was judged of them: pairs, or each by itself.

    `absolutes` has one entry for each completion or none; `weights` are those of the criteria.
    """

    line: int
    key: str
    messages: Turns
    texts: tuple[str, ...]
    sources: tuple[str, ...]
    pairs: tuple[PreferencePair, ...]
    absolutes: tuple[AbsoluteFeedback, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Labelled:
    """A completion, where its first label stands, and the labels as votes."""

    line: int
    record: UnpairedRecord
    votes: list[VoteRecord] = field(default_factory=list)


Row = FilePrompt | FileDemonstration | JudgedRow


def prompts(source: Source) -> tuple[list[FilePrompt], list[BadLine]]:
    """Return the prompts of a file; what else its rows hold is left aside."""
    good: list[FilePrompt] = []
    bad: list[BadLine] = []
    for line, record in _records(source, bad):
        source_id = record.source_id if hasattr(record, "source_id") else None
        meta = record.meta if isinstance(record, PromptRecord) else None
        key, turns = _key(record.messages), _turns(record.messages)
        good.append(FilePrompt(line, key, turns, source_id, meta))
    return good, _refuse(source, bad, len(good), "prompts")


def demonstrations(source: Source) -> tuple[list[FileDemonstration], list[BadLine]]:
    """Return the demonstrations of a file: prompts with a good answer."""
    good: list[FileDemonstration] = []
    bad: list[BadLine] = []
    for line, record in _records(source, bad):
        if isinstance(record, DemonstrationRecord):
            messages = record.messages
            good.append(FileDemonstration(line, _key(messages), _turns(messages), record.response))
        else:
            bad.append(BadLine(line, f"{_what(record)}, not a prompt with a good answer"))
    return good, _refuse(source, bad, len(good), "demonstrations")


def comparisons(source: Source) -> tuple[list[JudgedRow], list[BadLine]]:
    """Return the judged comparisons of a file, the votes on each pair as shares."""
    good: list[JudgedRow] = []
    bad: list[BadLine] = []
    for line, record in _records(source, bad):
        if isinstance(record, PreferenceRecord | ComparisonRecord):
            found = _compared(line, record)
            if found.pairs:
                good.append(found)
            else:
                bad.append(BadLine(line, "nobody preferred any of the completions"))
        else:
            bad.append(BadLine(line, f"{_what(record)}, not a comparison that was judged"))
    return good, _refuse(source, bad, len(good), "judged comparisons")


def judgments(source: Source) -> tuple[list[JudgedRow], list[BadLine]]:
    """Return all that a reward model learns from: comparisons, ratings on criteria, thumbs.

    Labels of one completion, a line each, become one row with the share of the good ones.
    """
    good: list[JudgedRow] = []
    bad: list[BadLine] = []
    labelled: dict[tuple[str, str], _Labelled] = {}
    lines = 0
    for line, record in _records(source, bad):
        if isinstance(record, UnpairedRecord):
            place = (_key(record.messages), record.text)
            labelled.setdefault(place, _Labelled(line, record)).votes.append(_thumb(line, record))
        elif isinstance(record, PreferenceRecord | ComparisonRecord):
            found = _compared(line, record)
            if not (found.pairs or found.absolutes):
                bad.append(
                    BadLine(line, "nobody preferred, rated or labelled any of the completions")
                )
                continue
            good.append(found)
        else:
            bad.append(BadLine(line, f"{_what(record)}, not one that was judged"))
            continue
        lines += 1
    good = sorted([*good, *map(_of_labels, labelled.values())], key=lambda one: one.line)
    return good, _refuse(source, bad, lines, "judgments")


def held_out(rows: Sequence[Any], percent: int) -> tuple[list[Any], list[Any]]:
    """Part rows by what their prompts say, so that no prompt is on both sides."""
    shares = Shares(100 - percent, percent, 0)
    parts: tuple[list[Any], list[Any]] = ([], [])
    for row in rows:
        parts[splits.split_of(row.key, shares) is Split.VALIDATION].append(row)
    return parts


def _records(source: Source, bad: list[BadLine]) -> Iterator[tuple[int, Record]]:
    """Yield what the lines say; those that say nothing usable are put on the list."""
    try:
        chunks = _chunks(source.existing)
        for line, record in registry.numbered(chunks, source.format):
            if isinstance(record, Rejected):
                bad.append(BadLine(line, record.reason))
            else:
                yield line, record
    except Invalid as error:
        raise Invalid(f"{source.path}: {error}") from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _refuse(source: Source, bad: list[BadLine], good: int, what: str) -> list[BadLine]:
    """Return the bad lines in order, where it was asked to go on without them."""
    bad.sort(key=lambda one: one.line)
    told = [f"  line {one.line}: {one.reason}" for one in bad[:SHOWN]]
    if len(bad) > SHOWN:
        told.append(f"  and {len(bad) - SHOWN} more")
    if not good:
        raise Invalid("\n".join([f"{source.path} holds no {what}", *told]))
    if bad and not source.skip_bad:
        heading = (
            f"{source.path}: {len(bad)} of {len(bad) + good} rows cannot be used; "
            "--skip-bad goes on without them"
        )
        raise Invalid("\n".join([heading, *told]))
    return bad


def _compared(line: int, record: PreferenceRecord | ComparisonRecord) -> JudgedRow:
    found = JudgedRow(
        line,
        _key(record.messages),
        _turns(record.messages),
        tuple(candidate.text for candidate in record.candidates),
        tuple(_source(candidate) for candidate in record.candidates),
        _of_votes(record) if isinstance(record, ComparisonRecord) else _of_one(record),
    )
    if isinstance(record, PreferenceRecord):
        return found
    said = _absolutes(record.votes, len(record.candidates))
    return replace(found, absolutes=said, weights=record.weights)


def _of_labels(one: _Labelled) -> JudgedRow:
    messages = one.record.messages
    return JudgedRow(
        one.line,
        _key(messages),
        _turns(messages),
        (one.record.text,),
        ("unknown",),
        (),
        _absolutes(one.votes, 1),
    )


def _thumb(line: int, record: UnpairedRecord) -> VoteRecord:
    return VoteRecord(f"line {line}", None, thumb="up" if record.label else "down")


def _absolutes(votes: Sequence[VoteRecord], count: int) -> tuple[AbsoluteFeedback, ...]:
    return tuple(
        AbsoluteFeedback(one.ratings, one.thumb) for one in vote_shares.absolutes(votes, count)
    )


def _of_votes(record: ComparisonRecord) -> tuple[PreferencePair, ...]:
    found = vote_shares.pairs(record.votes, len(record.candidates))
    return tuple(
        PreferencePair(one.first, one.second, one.share, vote_weights.margin_of(one))
        for one in found
    )


def _of_one(record: PreferenceRecord) -> tuple[PreferencePair, ...]:
    """Return the pairs of a judgment; a margin in the file's own unit is taken as it is."""
    found = vote_shares.pairs([record], len(record.candidates))
    margin = None if record.margin is None else max(record.margin, 0.0)
    return tuple(
        PreferencePair(
            one.first,
            one.second,
            one.share,
            vote_weights.margin_of(one) if margin is None or one.share == 0.5 else margin,
        )
        for one in found
    )


def _source(candidate: CompletionText) -> str:
    return candidate.source or "unknown"


def _turns(messages: Conversation) -> Turns:
    return fields.as_messages(messages)


def _key(messages: Conversation) -> str:
    return splits.content_hash((turn.role, turn.content) for turn in messages)


def _what(record: Record) -> str:
    kinds = {
        PromptRecord: "a prompt without an answer",
        DemonstrationRecord: "a prompt with one answer",
        CompletionsRecord: "completions nobody has judged",
        PreferenceRecord: "a judged comparison",
        ComparisonRecord: "a judged comparison",
    }
    return kinds.get(type(record), "one completion with a label")
