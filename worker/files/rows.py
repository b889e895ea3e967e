"""Data files as input to the training loops: rows read, bad lines reported, prompts held out.

Every format that Attune reads is supported. A line that cannot be used is an error with its number,
unless bad lines are skipped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.domain import earlier_turns, splits, vote_shares
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
    Turn,
    UnpairedRecord,
    VoteRecord,
    has_one_text,
)
from worker.files.source import Source
from worker.rlhf.core.examples import AbsoluteFeedback, PreferencePair
from worker.training import vote_weights
from worker.training.conversations import Question

CHUNK: Final = 1 << 16
_HELD_OUT: Final = "held out from a file:"
SHOWN: Final = 5  # bad lines that an error lists

Turns = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class FilePrompt:
    """A prompt of a file; `key` hashes its content, so that equal prompts get equal completions."""

    line: int
    key: str
    messages: Turns
    source_id: str | None = None
    meta: Mapping[str, object] | None = None
    follow_up: tuple[str, ...] = ()  # asked after the model's own responses

    @property
    def question(self) -> Question:
        """The prompt with its follow-ups."""
        return Question(self.key, self.messages, self.follow_up)


@dataclass(frozen=True, slots=True)
class FileDemonstration:
    """A prompt with the response to imitate."""

    line: int
    key: str
    messages: Turns
    text: str


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A prompt with its completions and their judgments, of pairs or of each by itself.

    `absolutes` has one entry per completion, or is empty; `weights` are those of the criteria.
    """

    line: int
    key: str
    messages: Turns
    texts: tuple[str, ...]
    sources: tuple[str, ...]
    pairs: tuple[PreferencePair, ...]
    absolutes: tuple[AbsoluteFeedback, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    split: str | None = None  # of the project that exported it
    earlier: tuple[Turns, ...] = ()  # before each response to a follow-up; or empty


@dataclass(slots=True)
class _Labeled:
    """A completion, the line of its first label, and the labels as votes."""

    line: int
    record: UnpairedRecord
    votes: list[VoteRecord] = field(default_factory=list)


Row = FilePrompt | FileDemonstration | JudgedRow


def prompts(source: Source) -> tuple[list[FilePrompt], list[BadLine]]:
    """Return the prompts of a file; other contents of its rows are ignored."""
    good: list[FilePrompt] = []
    bad: list[BadLine] = []
    for line, record in _records(source, bad):
        source_id = record.source_id if hasattr(record, "source_id") else None
        meta = record.meta if isinstance(record, PromptRecord) else None
        try:
            messages, follow_up = _asked(record)
        except Invalid as error:
            bad.append(BadLine(line, str(error)))
            continue
        key = _key((*messages, *(Turn("user", text) for text in follow_up)))
        good.append(FilePrompt(line, key, _turns(messages), source_id, meta, follow_up))
    return good, _refuse(source, bad, len(good), "prompts")


def demonstrations(source: Source) -> tuple[list[FileDemonstration], list[BadLine]]:
    """Return the demonstrations of a file: prompts with a good response."""
    good: list[FileDemonstration] = []
    bad: list[BadLine] = []
    for line, record in _records(source, bad):
        if isinstance(record, DemonstrationRecord):
            messages = record.messages
            good.append(FileDemonstration(line, _key(messages), _turns(messages), record.response))
        else:
            bad.append(BadLine(line, f"{_what(record)}, not a prompt with a good response"))
    return good, _refuse(source, bad, len(good), "demonstrations")


def comparisons(source: Source) -> tuple[list[JudgedRow], list[BadLine]]:
    """Return the judged comparisons of a file, the votes on each pair as shares."""
    good: list[JudgedRow] = []
    bad: list[BadLine] = []
    for line, record in _records(source, bad):
        if isinstance(record, PreferenceRecord | ComparisonRecord):
            row = _compared(line, record)
            if row.pairs:
                good.append(row)
            else:
                bad.append(BadLine(line, _why_no_pairs(record, "no completion was preferred")))
        else:
            bad.append(BadLine(line, f"{_what(record)}, not a judged comparison"))
    return good, _refuse(source, bad, len(good), "judged comparisons")


def judgments(source: Source) -> tuple[list[JudgedRow], list[BadLine]]:
    """Return what a reward model learns from: comparisons, ratings on criteria, thumbs.

    Labels of one completion, one per line, become one row with the share of positive labels.
    """
    good: list[JudgedRow] = []
    bad: list[BadLine] = []
    labeled: dict[tuple[str, str], _Labeled] = {}
    lines = 0
    for line, record in _records(source, bad):
        if isinstance(record, UnpairedRecord):
            place = (_key(record.messages), record.text)
            labeled.setdefault(place, _Labeled(line, record)).votes.append(_thumb(line, record))
        elif isinstance(record, PreferenceRecord | ComparisonRecord):
            judged = _compared(line, record)
            if not (judged.pairs or judged.absolutes):
                why = _why_no_pairs(record, "no completion was preferred, rated or labeled")
                bad.append(BadLine(line, why))
                continue
            good.append(judged)
        else:
            bad.append(BadLine(line, f"{_what(record)}, not a judgment"))
            continue
        lines += 1
    good = sorted([*good, *map(_of_labels, labeled.values())], key=lambda row: row.line)
    return good, _refuse(source, bad, lines, "judgments")


def held_out(rows: Sequence[Any], percent: int) -> tuple[list[Any], list[Any]]:
    """Split rows by the content of their prompts, so that no prompt is on both sides.

    The choice is independent of a project's splits, so that a file of the training split, too, has
    its share of held-out prompts. Of two prompts or more, at least one is on either side.
    """
    ranks = {row.key: splits.uniform(_HELD_OUT, row.key) for row in rows}
    ordered = sorted(ranks, key=ranks.__getitem__)
    count = sum(rank < percent / 100 for rank in ranks.values())
    if percent:
        count = min(max(count, 1), len(ordered) - 1)
    chosen = set(ordered[:count])
    parts: tuple[list[Any], list[Any]] = ([], [])
    for row in rows:
        parts[row.key in chosen].append(row)
    return parts


def _records(source: Source, bad: list[BadLine]) -> Iterator[tuple[int, Record]]:
    """Yield the records of the lines; lines that cannot be used are added to `bad`."""
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
    """Return the bad lines in order if they are skipped; otherwise raise Invalid."""
    bad.sort(key=lambda rejected: rejected.line)
    listed = [f"  line {rejected.line}: {rejected.reason}" for rejected in bad[:SHOWN]]
    if len(bad) > SHOWN:
        listed.append(f"  and {len(bad) - SHOWN} more")
    if not good:
        raise Invalid("\n".join([f"{source.path} holds no {what}", *listed]))
    if bad and not source.skip_bad:
        heading = (
            f"{source.path}: {len(bad)} of {len(bad) + good} rows cannot be used; "
            "--skip-bad skips them"
        )
        raise Invalid("\n".join([heading, *listed]))
    return bad


def _why_no_pairs(record: PreferenceRecord | ComparisonRecord, otherwise: str) -> str:
    has_several = len(record.candidates) > 1
    is_one_text = has_several and has_one_text(record.candidates)
    return "all completions have the same text" if is_one_text else otherwise


def _compared(line: int, record: PreferenceRecord | ComparisonRecord) -> JudgedRow:
    row = JudgedRow(
        line,
        _key(record.messages),
        _turns(record.messages),
        tuple(candidate.text for candidate in record.candidates),
        tuple(_source(candidate) for candidate in record.candidates),
        tuple(
            pair
            for pair in (
                _of_votes(record) if isinstance(record, ComparisonRecord) else _of_one(record)
            )
            if record.candidates[pair.first].turns != record.candidates[pair.second].turns
        ),
        earlier=tuple(_turns(candidate.earlier) for candidate in record.candidates),
    )
    if isinstance(record, PreferenceRecord):
        return row
    feedback = _absolutes(record.votes, len(record.candidates))
    return replace(row, absolutes=feedback, weights=record.weights, split=record.split)


def _of_labels(labeled: _Labeled) -> JudgedRow:
    messages = labeled.record.messages
    return JudgedRow(
        labeled.line,
        _key(messages),
        _turns(messages),
        (labeled.record.text,),
        ("unknown",),
        (),
        _absolutes(labeled.votes, 1),
    )


def _thumb(line: int, record: UnpairedRecord) -> VoteRecord:
    return VoteRecord(f"line {line}", None, thumb="up" if record.label else "down")


def _absolutes(votes: Sequence[VoteRecord], count: int) -> tuple[AbsoluteFeedback, ...]:
    return tuple(
        AbsoluteFeedback(absolute.ratings, absolute.thumb)
        for absolute in vote_shares.absolutes(votes, count)
    )


def _of_votes(record: ComparisonRecord) -> tuple[PreferencePair, ...]:
    """Return the pairs of a comparison: those of its settlement, or of its votes."""
    if record.settled is not None:
        judged = vote_shares.settled_pairs(record.settled, len(record.votes))
    elif record.is_settled_as_bad:
        judged = ()
    else:
        judged = vote_shares.pairs(record.votes, len(record.candidates))
    return tuple(
        PreferencePair(pair.first, pair.second, pair.share, vote_weights.margin_of(pair))
        for pair in judged
    )


def _of_one(record: PreferenceRecord) -> tuple[PreferencePair, ...]:
    """Return the pairs of a judgment; a margin in the file's own unit is used unchanged."""
    judged = vote_shares.pairs([record], len(record.candidates))
    margin = None if record.margin is None else max(record.margin, 0.0)
    return tuple(
        PreferencePair(
            pair.first,
            pair.second,
            pair.share,
            vote_weights.margin_of(pair) if margin is None or pair.share == 0.5 else margin,
        )
        for pair in judged
    )


def _asked(record: Record) -> tuple[Conversation, tuple[str, ...]]:
    """Return the turns of a prompt, and the follow-ups asked after the model's own responses."""
    if isinstance(record, PromptRecord):
        turns, follow_up = earlier_turns.asked_in_steps(record.messages)
        return tuple(Turn(*turn) for turn in turns), follow_up
    if isinstance(record, CompletionsRecord):
        return record.messages, record.completions[0].follow_ups
    if isinstance(record, PreferenceRecord | ComparisonRecord) and record.candidates:
        return record.messages, record.candidates[0].follow_ups
    return record.messages, ()


def _source(candidate: CompletionText) -> str:
    return candidate.source or "unknown"


def _turns(messages: Conversation) -> Turns:
    return fields.as_messages(messages)


def _key(messages: Conversation) -> str:
    return splits.content_hash((turn.role, turn.content) for turn in messages)


def _what(record: Record) -> str:
    kinds = {
        PromptRecord: "a prompt without a response",
        DemonstrationRecord: "a prompt with one response",
        CompletionsRecord: "completions without judgments",
        PreferenceRecord: "a judged comparison",
        ComparisonRecord: "a judged comparison",
    }
    return kinds.get(type(record), "one completion with a label")
