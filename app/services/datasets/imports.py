"""Files that come in: read as a stream, a batch at a time, every bad line reported.

What a batch becomes is up to `imported_records`; large uploads are given to a job by
`import_jobs`, whose run stores its batches with the same function as an import that is done at
once.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from app.db import bulk, now
from app.db.copying import Copier
from app.errors import Invalid, NotFound
from app.formats import registry
from app.formats.column_mapping import ColumnsByField
from app.formats.lines import DEFAULT, Limits, RawRow
from app.formats.preview import FilePreview, preview
from app.formats.raw_rows import raw_rows
from app.models import Assignment, ComparisonCompletion, ImportRun, Project, Slot
from app.services.datasets import import_tally, imported_records, repeated_votes
from app.services.datasets.import_pace import ImportPace, is_time_to_analyze
from app.services.datasets.import_tally import ImportTally
from app.services.datasets.imported_records import Outcome
from app.services.datasets.read_ahead import ReadAhead
from app.services.people import audit
from app.services.project import word_backlog

BATCH = 3000
"""Rows of a batch at most."""
BATCH_CHARACTERS = 4_000_000
"""Characters at which a batch ends; one of 3,000 rows has room for 1,300 in each."""
_CHUNK = 1 << 16
_HEAD = 20

_ALSO_ANALYZED = (ComparisonCompletion, Slot, Assignment)

Transaction = Callable[[], AbstractContextManager[Session]]
"""Opens the transaction that one batch is stored in."""


def run(
    session: Session,
    project: Project,
    file: BinaryIO,
    *,
    filename: str,
    format: str | None = None,
    mapping: ColumnsByField | None = None,
    limits: Limits = DEFAULT,
    author_id: int | None = None,
    is_evaluation: bool = False,
    same_labelers: bool | None = None,
    member_splits: bool | None = None,
) -> ImportRun:
    """Import a whole file in the caller's transaction and record what became of it.

    Raises:
        Invalid: the file is empty, or its format is not known.
    """
    return run_in_batches(
        lambda: nullcontext(session),
        project.id,
        file,
        filename=filename,
        format=format,
        mapping=mapping,
        limits=limits,
        author_id=author_id,
        is_evaluation=is_evaluation,
        same_labelers=same_labelers,
        member_splits=member_splits,
    )


def run_in_batches(
    transaction: Transaction,
    project_id: int,
    file: BinaryIO,
    *,
    filename: str,
    format: str | None = None,
    mapping: ColumnsByField | None = None,
    limits: Limits = DEFAULT,
    author_id: int | None = None,
    is_evaluation: bool = False,
    same_labelers: bool | None = None,
    member_splits: bool | None = None,
    words_later: bool = False,
    report: Callable[[int], object] = lambda _bytes_read: None,
) -> ImportRun:
    """Import a whole file, each batch in a transaction of its own.

    Args:
        transaction: opens a transaction; called once a batch and once for the record.
        project_id: where the file goes.
        file: from its first byte.
        filename: named as the source of what is new.
        format: its name; detected from the first rows where it is None.
        mapping: the column of each field, where the file names them otherwise.
        limits: what a row may hold.
        author_id: who brought the file.
        is_evaluation: whether its prompts are declared an evaluation set.
        same_labelers: whether votes without a labeler's name are those of an earlier file's
            unnamed labelers; None: if they repeat their judgments.
        member_splits: whether the names of files in an archive set the split; None: if they say
            two or more.
        words_later: whether the caller has the words indexed afterwards by `index_words`.
        report: called after each batch with the number of bytes read.

    Raises:
        Invalid: the file is empty, or its format is not known.
    """
    name = format or detect(file, limits, mapping)
    run = _new_run(project_id, source_of(filename), name, author_id, is_evaluation=is_evaluation)
    tally, digest = ImportTally(), hashlib.sha256()
    labelers = look_through(
        lambda: _from_start(file), transaction, run, tally, mapping, same_labelers, limits
    )
    file.seek(0)
    notes: list[str] = []
    outcomes = registry.outcomes(
        _chunks(file, digest), run.format, limits, mapping, notes, labelers, member_splits
    )
    for _ in store_batches(outcomes, transaction, run, tally, notes, words_later=words_later):
        report(file.tell())
    run.sha256 = digest.hexdigest()
    with transaction() as session:
        run.created_at = now(session)
        session.add(run)
        record_progress(run, tally)
        record_end(session, run)
    return run


def _new_run(
    project_id: int, source: str, format: str, author_id: int | None, *, is_evaluation: bool
) -> ImportRun:
    return ImportRun(
        project_id=project_id,
        filename=source,
        format=format,
        is_evaluation=is_evaluation,
        counts={},
        rejects=[],
        created_by_id=author_id,
    )


def look_through(
    open_file: Callable[[], Iterable[bytes]],
    reader: Transaction,
    run: ImportRun,
    tally: ImportTally,
    mapping: ColumnsByField | None,
    same_labelers: bool | None,
    limits: Limits = DEFAULT,
) -> str | None:
    """Remark on the columns and the unnamed votes of a file that is about to be imported.

    Reads the first rows only, through ``open_file``, which opens the file at its first byte.
    Returns the tag of the earlier file's labelers to whom the unnamed votes belong, or None if they
    have labelers of their own.
    """
    remark_columns(open_file(), run.format, mapping, tally)
    first = registry.outcomes(open_file(), run.format, limits, mapping)
    with reader() as session:
        project = session.get_one(Project, run.project_id)
        repeats = repeated_votes.find(session, project, first, same_labelers)
    if not tally.rows:  # an attempt that resumes would count its own votes
        tally.remark(repeats.remark)
    return repeats.tag


def previewed(
    session: Session,
    project: Project,
    file: BinaryIO,
    *,
    format: str | None = None,
    mapping: ColumnsByField | None = None,
    same_labelers: bool | None = None,
    member_splits: bool | None = None,
) -> tuple[FilePreview, ...]:
    """Return what the first rows of a file would become in this project; nothing is stored.

    Raises:
        Invalid: the file is empty, or its format is not known.
    """
    files = preview(_from_start(file), format, mapping, member_splits=member_splits)
    first = registry.outcomes(_from_start(file), format, mapping=mapping)
    remark = repeated_votes.find(session, project, first, same_labelers).remark
    if remark:
        files = (replace(files[0], expected=(*files[0].expected, remark)), *files[1:])
    return files


def store_batches(
    outcomes: Iterable[Outcome],
    transaction: Transaction,
    run: ImportRun,
    tally: ImportTally,
    notes: Sequence[str],
    *,
    words_later: bool = False,
) -> Iterator[bool]:
    """Store the rows of a file a batch at a time.

    Yields, after each batch is committed, whether it goes slowly because people are labeling.
    Rows that the tally has seen are passed over, so an import that resumes continues after them.
    What reading the rows adds to ``notes`` becomes remarks of the tally. With `words_later`, the
    caller has the words of the texts indexed by `index_words`.
    """
    unseen = islice(outcomes, tally.rows, None)
    pace = ImportPace(BATCH)
    prepare = partial(imported_records.prepare, source=run.filename)
    reading = ReadAhead(unseen, prepare, imported_records.length, BATCH_CHARACTERS)
    with reading as reader, Copier() as copier:
        storing = bulk.Storing(copier, fires_triggers=not words_later)  # those index words
        while batch := reader.take(pace.rows):
            pace.wait()
            before = tally.rows
            with transaction() as session:
                pace.start(session)
                if pace.reads_ahead:
                    bulk.commit_soon(session)  # the end of the import is waited for
                    bulk.share(session, storing)
                if words_later:
                    word_backlog.index_later(session)
                project = session.get_one(Project, run.project_id)
                imported_records.store(
                    session,
                    project,
                    batch,
                    tally,
                    source=run.filename,
                    author_id=run.created_by_id,
                    is_evaluation=run.is_evaluation,
                )
                pace.stored(session)
                if pace.reads_ahead:  # now that nothing is left to do but to wait for the server
                    reader.start(pace.rows)
            if not session.in_transaction():  # or else the caller's goes on
                pace.give_way(session, batch.rows)
                if is_time_to_analyze(before, tally.rows):
                    with transaction() as session:
                        bulk.analyze(session, *import_tally.TABLES.values(), *_ALSO_ANALYZED)
            yield pace.rests
    for note in notes:
        tally.remark(note)


def index_words(transaction: Transaction) -> Iterator[int]:
    """Index the words of the texts that wait, of any project, a piece at a time.

    Yields the number of texts after each piece is committed.
    """
    pace = ImportPace(word_backlog.PIECE)
    while True:
        pace.wait()
        with transaction() as session:
            pace.start(session)
            bulk.commit_soon(session)  # what is lost waits again
            indexed = word_backlog.index_some(session, pace.rows)
            pace.stored(session)
        if not indexed:
            return
        pace.give_way(session, indexed)
        yield indexed


def remark_columns(
    chunks: Iterable[bytes],
    format: str | None,
    mapping: ColumnsByField | None,
    tally: ImportTally,
) -> None:
    """Name in the tally the columns of a file that are not imported, or only kept as notes."""
    with suppress(Invalid):  # told by the import itself
        for file in preview(chunks, format, mapping):
            for remark in file.remarks_on_columns:
                tally.remark(remark)


def record_progress(run: ImportRun, tally: ImportTally) -> None:
    """Take the tally over into the row."""
    run.counts = dict(sorted(tally.counts.items()))
    if len(tally.rejects) != len(run.rejects):
        run.rejects = list(tally.rejects)
    run.duplicates = tally.duplicates_json()
    run.remarks = list(tally.remarks)


def record_end(session: Session, run: ImportRun) -> None:
    """Audit an import that is complete."""
    session.flush()
    audit.record(
        session,
        "import",
        run.filename,
        actor_id=run.created_by_id,
        project_id=run.project_id,
        details={
            "format": run.format,
            "sha256": run.sha256,
            "is_evaluation": run.is_evaluation,
            "counts": run.counts,
        },
    )


def detect(file: BinaryIO, limits: Limits = DEFAULT, mapping: ColumnsByField | None = None) -> str:
    """Return the name of a file's format, told by its first rows.

    Raises:
        Invalid: the file is empty, or no format knows them.
    """
    head = list(islice(raw_rows(_from_start(file), limits), _HEAD))
    lines = [item.data for item in head if isinstance(item, RawRow)]
    if head and not lines:
        first = head[0]
        raise Invalid(f"no line could be read: {getattr(first, 'reason', 'nothing there')}")
    return registry.detect(lines, limits, mapping)


def source_of(filename: str) -> str:
    """Return what new rows name as their source: the file's name without folders."""
    return filename.rsplit("/", 1)[-1][:100] or "upload"


def get(session: Session, project_id: int, import_id: int) -> ImportRun:
    """Return an import of the project.

    Raises:
        NotFound: there is none.
    """
    found = session.get(ImportRun, import_id)
    if found is None or found.project_id != project_id:
        raise NotFound(f"there is no import {import_id} in this project")
    return found


def _from_start(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    return _chunks(file)


def _chunks(file: BinaryIO, digest: Any = None) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        if digest is not None:
            digest.update(chunk)
        yield chunk
