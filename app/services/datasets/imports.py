"""Files that come in: read as a stream, taken in by content, every bad line reported.

The same file again adds nothing, because prompts, demonstrations, completions, comparisons and
votes are all known by what they say. What a line means is the formats' business; votes that come
with a file are kept by `imported_votes`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.answers import K_RANGE
from app.domain.ranking import MOST
from app.errors import Invalid, NotFound
from app.formats import csv_prompts, registry
from app.formats.format import Format
from app.formats.lines import DEFAULT, Limits, RawRow, row
from app.formats.raw_rows import raw_rows
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    UnpairedRecord,
)
from app.models import Completion, ImportRun, JudgmentKind, Project, Prompt
from app.services.datasets import imported_votes
from app.services.people import audit
from app.services.project import prompts
from app.services.queue import comparisons

BATCH = 200
REJECTS_KEPT = 1000
RAW_KEPT = 2000
_CHUNK = 1 << 16
_HEAD = 20


@dataclass(frozen=True, slots=True)
class Numbered:
    """A record with the number of its line; 0 where the reader does not tell."""

    line: int
    record: Record


@dataclass(slots=True)
class Tally:
    """What became of the lines of a file."""

    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, line: int, reason: str, raw: bytes = b"") -> None:
        """Report a line that was not taken."""
        self.counts["rejected"] += 1
        if len(self.rejects) < REJECTS_KEPT:
            shown = (
                raw[:RAW_KEPT].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
            )
            self.rejects.append({"line": line, "reason": reason, "raw": shown})


def run(
    session: Session,
    project: Project,
    file: BinaryIO,
    *,
    filename: str,
    format: str | None = None,
    limits: Limits = DEFAULT,
    author_id: int | None = None,
) -> ImportRun:
    """Take a whole file in and record what became of it.

    Raises:
        Invalid: the file is empty, or its format is not known.
    """
    chosen = format or detect(file, limits)
    file.seek(0)
    digest = hashlib.sha256()
    tally = Tally()
    source = filename.rsplit("/", 1)[-1][:100] or "upload"
    for batch in _batches(_records(_chunks(file, digest), chosen, limits, tally)):
        store(session, project, batch, tally, source=source, author_id=author_id)
    row_ = ImportRun(
        project_id=project.id,
        filename=source,
        format=chosen,
        sha256=digest.hexdigest(),
        counts=dict(sorted(tally.counts.items())),
        rejects=tally.rejects,
        created_by_id=author_id,
        created_at=now(session),
    )
    session.add(row_)
    session.flush()
    audit.record(
        session,
        "import",
        source,
        actor_id=author_id,
        project_id=project.id,
        details={"format": chosen, "sha256": row_.sha256, "counts": row_.counts},
    )
    return row_


def detect(file: BinaryIO, limits: Limits = DEFAULT) -> str:
    """Tell a file's format by its first rows.

    Raises:
        Invalid: the file is empty, or no format knows them.
    """
    file.seek(0)
    head = list(islice(raw_rows(_chunks(file), limits), _HEAD))
    lines = [item.data for item in head if isinstance(item, RawRow)]
    if head and not lines:
        first = head[0]
        raise Invalid(f"no line could be read: {getattr(first, 'reason', 'nothing there')}")
    return registry.detect(lines, limits)


def store(
    session: Session,
    project: Project,
    batch: Sequence[Numbered],
    tally: Tally,
    *,
    source: str,
    author_id: int | None = None,
) -> None:
    """Take some records in, in the caller's transaction."""
    taken = [each for each in batch if _is_taken(each, tally)]
    added = prompts.add(
        session, project, [_prompt(each.record, source) for each in taken], author_id=author_id
    )
    tally.counts["prompts_new"] += added.new
    tally.counts["records"] += len(taken)
    pairs = list(zip(taken, added.prompts, strict=True))
    answers = [
        (prompt, each.record.response)
        for each, prompt in pairs
        if isinstance(each.record, DemonstrationRecord)
    ]
    tally.counts["demonstrations_new"] += prompts.add_demonstrations(
        session, answers, source=source, author_id=author_id
    )
    _store_candidates(session, project, pairs, tally, source)


def of_project(session: Session, project_id: int, *, limit: int = 20) -> list[ImportRun]:
    """Return the project's imports, newest first."""
    query = select(ImportRun).where(ImportRun.project_id == project_id)
    return list(session.scalars(query.order_by(ImportRun.id.desc()).limit(limit)))


def get(session: Session, project_id: int, import_id: int) -> ImportRun:
    """Return an import of the project.

    Raises:
        NotFound: there is none.
    """
    found = session.get(ImportRun, import_id)
    if found is None or found.project_id != project_id:
        raise NotFound(f"there is no import {import_id} in this project")
    return found


def _store_candidates(
    session: Session,
    project: Project,
    pairs: Sequence[tuple[Numbered, Prompt]],
    tally: Tally,
    source: str,
) -> None:
    given = [(each, prompt, _candidates(each.record)) for each, prompt in pairs]
    given = [one for one in given if one[2] or isinstance(one[0].record, ComparisonRecord)]
    ids = _completions(session, project, [(p, c) for _, p, c in given], tally, source)
    votes: list[imported_votes.Given] = []
    for each, prompt, candidates in given:
        mine = tuple(ids[prompt.id, prompts.text_hash(one.text)] for one in candidates)
        if isinstance(each.record, CompletionsRecord):
            _compare(session, project, prompt, tuple(dict.fromkeys(mine)), tally)
        else:
            votes.extend(imported_votes.of_record(each.line, each.record, prompt.id, mine))
    done = imported_votes.store(session, project, votes)
    tally.counts["judgments_new"] += done.new
    tally.counts["comparisons_new"] += done.comparisons
    for line, reason in done.refused:
        tally.reject(line, reason)


def _compare(
    session: Session, project: Project, prompt: Prompt, ids: tuple[int, ...], tally: Tally
) -> None:
    """Put completions of a file to the labelers, where the project's question fits them."""
    low, high = K_RANGE[project.judgment_kind]
    if not max(low, 1) <= len(ids) <= high:
        tally.counts["kept_without_comparison"] += 1
        return
    key = imported_votes.natural_key(JudgmentKind(project.judgment_kind), prompt.id, ids)
    if imported_votes.comparison_of(session, project.id, key) is not None:
        return
    comparisons.create(
        session,
        project,
        prompt.id,
        ids,
        natural_key=key,
        seed=project.split_seed,
        priority=imported_votes.BEHIND_ROUNDS,
    )
    tally.counts["comparisons_new"] += 1


def _completions(
    session: Session,
    project: Project,
    given: Sequence[tuple[Prompt, Sequence[CompletionText]]],
    tally: Tally,
    source: str,
) -> dict[tuple[int, str], int]:
    """Keep completions, one for each text of a prompt; return their ids by prompt and text."""
    wanted: dict[tuple[int, str], CompletionText] = {}
    for prompt, candidates in given:
        for one in candidates:
            wanted.setdefault((prompt.id, prompts.text_hash(one.text)), one)
    if not wanted:
        return {}
    keys = {(prompt_id, f"import-{digest}"): (prompt_id, digest) for prompt_id, digest in wanted}
    query = select(Completion.id, Completion.prompt_id, Completion.source_key).where(
        Completion.prompt_id.in_({prompt_id for prompt_id, _ in wanted}),
        Completion.source_key.in_({source_key for _, source_key in keys}),
    )
    found = {
        keys[known.prompt_id, known.source_key]: known.id
        for known in session.execute(query)
        if (known.prompt_id, known.source_key) in keys
    }
    moment = now(session)
    fresh = {
        place: Completion(
            project_id=project.id,
            prompt_id=place[0],
            source=(one.source or source)[:120],
            source_key=f"import-{place[1]}",
            sample_index=0,
            text=one.text,
            finish_reason="imported",
            sampling={},
            created_at=moment,
        )
        for place, one in wanted.items()
        if place not in found
    }
    session.add_all(fresh.values())
    session.flush()
    tally.counts["completions_new"] += len(fresh)
    return found | {place: completion.id for place, completion in fresh.items()}


def _is_taken(each: Numbered, tally: Tally) -> bool:
    try:
        _check(each.record)
    except Invalid as error:
        tally.reject(each.line, str(error))
        return False
    return True


def _check(record: Record) -> None:
    if isinstance(record, PromptRecord):
        prompts.asked_in_steps(record.messages)
    if isinstance(record, ComparisonRecord) and record.purpose != "train":
        raise Invalid(f"comparisons for {record.purpose} are not taken in, only those for training")
    if isinstance(record, PreferenceRecord | ComparisonRecord):
        texts = [one.text for one in record.candidates]
        has_kind = isinstance(record, ComparisonRecord) and record.kind is not None
        if not has_kind and not 2 <= len(texts) <= MOST:
            raise Invalid(f"a comparison has 2 to {MOST} completions, not {len(texts)}")
        if len(set(texts)) < len(texts):
            raise Invalid("two of the completions are the same text")


def _prompt(record: Record, source: str) -> prompts.NewPrompt:
    turns = tuple((turn.role, turn.content) for turn in record.messages)
    later: tuple[str, ...] = ()
    if isinstance(record, PromptRecord):
        turns, later = prompts.asked_in_steps(turns)
    return prompts.NewPrompt(
        turns,
        later,
        source=source,
        source_key=getattr(record, "source_id", None) or "",
        meta=getattr(record, "meta", None) or {},
    )


def _candidates(record: Record) -> tuple[CompletionText, ...]:
    if isinstance(record, CompletionsRecord):
        return record.completions
    if isinstance(record, PreferenceRecord | ComparisonRecord):
        return record.candidates
    if isinstance(record, UnpairedRecord):
        return (CompletionText(record.text),)
    return ()


def _records(
    chunks: Iterator[bytes], chosen: str, limits: Limits, tally: Tally
) -> Iterator[Numbered]:
    """Yield what the lines say; those that say nothing are put on the tally."""
    stream = raw_rows(chunks, limits)
    if chosen == csv_prompts.NAME:
        for _, record in csv_prompts.read(stream, limits):
            if isinstance(record, Rejected):
                tally.reject(record.line, record.reason, record.raw)
            else:
                yield Numbered(0, record)
        return
    known: Format = _named(chosen)
    for item in stream:
        if isinstance(item, Rejected):
            tally.reject(item.line, item.reason, item.raw)
        elif item.data.strip():
            try:
                yield from [
                    Numbered(item.number, one) for one in known.read(row(item.data, limits))
                ]
            except Invalid as error:
                tally.reject(item.number, str(error), item.data)


def _named(name: str) -> Format:
    for one in registry.FORMATS:
        if one.name == name:
            return one
    raise Invalid(f"there is no format {name!r}; there are {', '.join(registry.names())}")


def _batches(records: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    while batch := list(islice(records, BATCH)):
        yield batch


def _chunks(file: BinaryIO, digest: Any = None) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        if digest is not None:
            digest.update(chunk)
        yield chunk
