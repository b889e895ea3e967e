"""Previews an import: what the first rows of a file would become, in plain words."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice

from app.errors import Invalid
from app.formats import fields, model_responses, reading, unused_signals, zip_files
from app.formats.charsets import peek
from app.formats.column_mapping import IGNORE, JUDGED, ColumnsByField, plain
from app.formats.format import Format
from app.formats.known_formats import ARCHIVE, names
from app.formats.lines import DEFAULT, Limits, RawRow
from app.formats.raw_rows import raw_rows
from app.formats.reading import Numbered, Rows
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
    Row,
    UnpairedRecord,
    VoteRecord,
)

ROWS = 10


@dataclass(frozen=True, slots=True)
class RecordPreview:
    """One record in words: its kind, prompt, completions, and the judgments of them."""

    line: int
    kind: str
    prompt: tuple[str, ...]
    completions: tuple[str, ...] = ()
    judgments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FilePreview:
    """What the first rows of one file would become.

    ``lost`` maps the columns that would not be imported to the reason; ``notes`` are those that
    would be kept with the prompt, without being part of it. ``said`` is how the file was read, and
    ``expected`` what will be different afterwards.
    """

    format: str
    title: str
    records: tuple[RecordPreview, ...]
    rejects: tuple[Rejected, ...]
    lost: dict[str, str]
    file: str | None = None  # its name in an archive
    notes: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()

    @property
    def remarks(self) -> Iterator[str]:
        """Sentences on how the file was read, and on what would be lost or different."""
        yield from self.said
        yield from self.remarks_on_columns
        yield from self.expected

    @property
    def remarks_on_columns(self) -> Iterator[str]:
        """Sentences on what would not become part of prompts, responses and judgments."""
        where = f" of {self.file}" if self.file else ""
        if self.lost:
            reasons = "; ".join(f"{column} ({reason})" for column, reason in self.lost.items())
            yield f"Columns{where} that are not imported: {reasons}."
        if self.notes:
            yield (
                f"Columns{where} kept as notes on the prompt, not as responses or judgments: "
                f"{', '.join(self.notes)}."
            )
            yield from self._remark_on_models(where)

    def _remark_on_models(self, where: str) -> Iterator[str]:
        """Say how notes that may be models' responses, or models' names, are imported as such."""
        titles = names()
        if any(record.kind == "demonstration" for record in self.records):
            if model_responses.MODELS & set(self.notes):
                yield (
                    f"The responses{where} are imported as demonstrations, that is, as good ones. "
                    f"To compare the models that wrote them, choose the format "
                    f"“{titles[model_responses.ROWS]}”."
                )
        elif len(self.notes) > 1 and all(record.kind == "prompt" for record in self.records):
            yield (
                "If these columns hold the responses of models, choose the format "
                f"“{titles[model_responses.COLUMNS]}”."
            )


def preview(
    chunks: Iterable[bytes],
    name: str | None = None,
    mapping: ColumnsByField | None = None,
    limits: Limits = DEFAULT,
    rows: int = ROWS,
    member_splits: bool | None = None,
) -> tuple[FilePreview, ...]:
    """Return what the first rows of a file would become, for each file in an archive.

    ``member_splits`` says whether the names of files in an archive set the split.

    Raises Invalid for the same reasons as reading the file.
    """
    head, stream = peek(chunks, len(zip_files.MAGIC[0]))
    whole = chain([head], stream)
    if not head.startswith(zip_files.MAGIC):
        return (_of_file(whole, name, mapping, limits, rows, None),)
    with zip_files.opened(whole, limits) as archive:
        own = None if name == ARCHIVE else name
        files = [
            _of_member(archive.chunks(info), own, mapping, limits, rows, zip_files.shown(info))
            for info in archive.members
        ]
        remarks = archive.remarks(archive.splits(member_splits))
        if archive.skipped:
            remarks = [archive.skipped, *remarks]
        files[0] = replace(files[0], said=(*remarks, *files[0].said))
        return tuple(files)


def _of_member(
    chunks: Iterator[bytes],
    name: str | None,
    mapping: ColumnsByField | None,
    limits: Limits,
    rows: int,
    file: str,
) -> FilePreview:
    try:
        return _of_file(chunks, name, mapping, limits, rows, file)
    except Invalid as error:
        return FilePreview("", "", (), (Rejected(1, str(error)),), {}, file)


def _of_file(
    chunks: Iterable[bytes],
    name: str | None,
    mapping: ColumnsByField | None,
    limits: Limits,
    rows: int,
    file: str | None,
    said: Iterable[str] = (),
) -> FilePreview:
    notes = list(said)
    stream = reading.readable(raw_rows(chunks, limits, notes))
    opened = reading.opened(stream, name, limits, mapping)
    first = list(islice(opened.stream, rows))
    outcomes = list(reading.records(opened.with_stream(iter(first))))
    return FilePreview(
        opened.format.name,
        names()[opened.format.name],
        tuple(_described(outcomes)),
        tuple(outcome for _, outcome in outcomes if isinstance(outcome, Rejected)),
        _lost(first, opened),
        file,
        tuple(_notes(first, opened)),
        tuple(notes),
        (*_expected(outcomes, opened.format), *_unseen(first, opened)),
    )


def _expected(outcomes: Iterable[Numbered], known: Format) -> Iterator[str]:
    """Yield what an import changes or leaves out, by what the first rows hold."""
    records = [item for _, item in outcomes if isinstance(item, ComparisonRecord)]
    scales = {name: scale for record in records for name, scale in record.scales.items()}
    for low, high in sorted(set(scales.values())):
        names = [name for name, scale in scales.items() if scale == (low, high)]
        yield (
            f"Ratings on {', '.join(names)} are on a scale from {low} to {high}. They are never "
            "mixed with ratings on another scale: where the project’s criterion of that name has "
            f"one, they are kept on a criterion of their own, such as “{names[0]} ({low}–{high})”."
        )
    if any(record.is_settled for record in records):
        yield "Settlements are not imported; the votes of settled comparisons are."
    if known.name == "rich" and any(vote.ratings for one in records for vote in one.votes):
        yield "The file does not say the scale of its ratings; they are read on the project’s."


def _unseen(first: Iterable[RawRow | Rejected], rows: Rows) -> Iterator[str]:
    """Yield a sentence on values of the mapping that no judgment of the first rows has."""
    values = rows.mapping.values
    if not values:
        return
    plainly = replace(rows, mapping=replace(rows.mapping, values={}))
    seen: set[str] = set()
    for item in first:
        if isinstance(item, RawRow):
            with suppress(Invalid):
                row = plainly.row(item)
                seen |= {plain(row[name]) for name in JUDGED & row.keys()}
    if unseen := sorted(values.keys() - seen):
        yield (
            f"No judgment of the first rows has the mapped value {' or '.join(map(repr, unseen))}."
        )


def _described(outcomes: Iterable[Numbered]) -> Iterator[RecordPreview]:
    for line, outcome in outcomes:
        if not isinstance(outcome, Rejected):
            kind, completions, judgments = _in_words(outcome)
            yield RecordPreview(line, kind, _turns(outcome.messages), completions, judgments)


def _in_words(record: Record) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the kind of a record, its completions, and the judgments of them."""
    if isinstance(record, PromptRecord):
        return "prompt", (), ()
    if isinstance(record, DemonstrationRecord):
        return "demonstration", (record.response,), ()
    if isinstance(record, CompletionsRecord):
        return "responses to judge", _texts(record.completions), ()
    if isinstance(record, UnpairedRecord):
        return "label", (record.text,), ("good" if record.label else "bad",)
    if isinstance(record, PreferenceRecord):
        margin = "" if record.margin is None else f", margin {record.margin:g}"
        vote = VoteRecord(record.labeler or "", record.ranking, record.strength)
        return "preference", _texts(record.candidates), (f"{_vote(vote)}{margin}",)
    return "comparison", _texts(record.candidates), tuple(map(_vote, record.votes))


def _turns(messages: Conversation) -> tuple[str, ...]:
    return tuple(f"{turn.role}: {turn.content}" for turn in messages)


def _texts(candidates: Iterable[CompletionText]) -> tuple[str, ...]:
    texts = [" → ".join(turn.content for turn in one.turns) for one in candidates]
    return tuple(
        text if one.source is None else f"{one.source}: {text}"
        for text, one in zip(texts, candidates, strict=True)
    )


def _vote(vote: VoteRecord) -> str:
    """Describe a vote; responses are numbered from 1."""
    parts = [f"{vote.labeler}:"] if vote.labeler else []
    if vote.ranking is not None:
        groups = [" = ".join(str(place + 1) for place in group) for group in vote.ranking.groups]
        parts.append(f"response {' > '.join(groups)}")
    if vote.strength is not None:
        parts.append(f"({vote.strength.name.lower()})")
    if vote.both_bad:
        parts.append("none is good")
    if vote.thumb is not None:
        parts.append(f"thumb {vote.thumb}")
    parts += [
        f"{name} {', '.join(map(str, ratings))}" for name, ratings in (vote.ratings or {}).items()
    ]
    return " ".join(parts)


def _lost(first: Iterable[RawRow | Rejected], rows: Rows) -> dict[str, str]:
    """Return the columns that would not be imported, in the order of the file."""
    lost = dict.fromkeys(sorted(rows.mapping.ignored), f"the mapping puts it under {IGNORE!r}")
    for item in first:
        if isinstance(item, RawRow):
            try:
                values = rows.row(item)
            except Invalid:
                continue
            for name in values:
                if reason := _why_lost(name, values, rows.format):
                    lost.setdefault(name, reason)
    return lost


def _notes(first: Iterable[RawRow | Rejected], rows: Rows) -> Iterator[str]:
    """Yield the columns that are kept as notes, in the order of the file."""
    known, seen = rows.format, set[str]()
    for item in first if known.keeps_notes else ():
        if isinstance(item, RawRow):
            try:
                values = rows.row(item)
            except Invalid:
                continue
            used = {path.partition(".")[0] for path in known.paths(values)}
            for name, value in values.items():
                is_note = isinstance(value, str | int | float) and not _why_lost(
                    name, values, known
                )
                if is_note and name not in {*used, *seen} and not fields.labels({name: value}):
                    seen.add(name)
                    yield name


def _why_lost(name: str, row: Row, known: Format) -> str:
    """Return why a column would not be imported, or an empty string if it would."""
    if row[name] is None or any(path.partition(".")[0] == name for path in known.paths(row)):
        return ""
    if fields.labels({name: row[name]}) and known.start is None:
        return ""
    if name in known.ignores:
        return known.ignores[name]
    if known.keeps_notes and isinstance(row[name], str | int | float):
        judgment = unused_signals.kind_of(name)
        return f"it holds {judgment} that the format does not use" if judgment else ""
    return "the format does not use it"
