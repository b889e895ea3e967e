"""Writes an export: a frozen file of judged comparisons, with its manifest and card."""

import gc
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judged_by import JudgedBy
from app.formats import containers, data_card
from app.formats.containers import Container, DataFile
from app.formats.training_rows import DatasetPrompt
from app.models import Export, Project, Purpose, Split
from app.services.datasets import (
    dedicated_process,
    demonstrations,
    export_options,
    export_rows,
    export_since,
    exports,
    judged_comparisons,
)
from app.services.datasets.export_rows import Account
from app.services.datasets.exports import Frozen
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.datasets.labelers_at_work import BESIDE_LABELERS
from app.services.datasets.read_pace import ReadPace
from worker.runs import judged_pages
from worker.runs.process.job_context import JobContext
from worker.runs.shared_export import Sharing

STEM = "data"
DATA = f"{STEM}.{Container.JSONL}"
HELDOUT = "heldout.jsonl"


@dataclass(frozen=True, slots=True)
class Written:
    """A folder with a frozen file, and the account of its contents."""

    folder: Path
    account: Account
    manifest: Mapping[str, Any]
    summary: str
    file: DataFile


def run(context: JobContext) -> None:
    """Write the export that the payload names."""
    started_s = time.monotonic()
    dedicated_process.adapt()
    with context.database.reader() as session:
        export = session.get_one(Export, context.payload["export_id"])
        project = session.get_one(Project, export.project_id)
    options = ExportOptions.from_json(export.options)
    title = f"{project.name}, export {export.number}"
    sharing = Sharing(context, project.id, export.format, options)
    written = write(context, project.id, export.format, options, title, sharing=sharing)
    frozen = publish(context, written)
    sharing.discard()

    def finish(session: Session) -> Mapping[str, Any]:
        row = session.get_one(Export, export.id)
        exports.finish(session, row, frozen)
        seconds = round(time.monotonic() - started_s, 3)
        return {"rows": frozen.rows, "summary": frozen.summary, "seconds": seconds}

    context.succeed(finish)


def write(
    context: JobContext,
    project_id: int,
    format: str,
    options: ExportOptions,
    title: str,
    *,
    folder: str = "export",
    sharing: Sharing | None = None,
) -> Written:
    """Write the file, its manifest and its card into a folder of the job, in bounded memory.

    With `sharing`, other workers write parts of a large file.
    """
    target = context.workdir / folder
    target.mkdir(parents=True, exist_ok=True)
    account = Account()
    shown = _of_files(context.database, project_id, format, options, account)
    pace = ReadPace()
    if sharing is None:
        comparisons = judged_pages.stream(
            context.database, project_id, format, options, account, pace=pace
        )
        lines = export_rows.write(comparisons, format, options, account, shown=shown)
    else:
        lines = sharing.lines(account, shown, pace)
    counted = _reported(lines, context, pace)
    with _no_cycle_detection():
        file = containers.write(target, STEM, counted, format, options.container)
    with context.database.reader() as session:
        names = exports.sources(session, account.checkpoint_ids)
    manifest = account.tally.manifest(
        title,
        format,
        export_options.filter_of(format, options),
        account.counts,
        guidelines_versions=account.guidelines_versions,
        checkpoints=names,
        licence=options.license or None,
        file=file.facts,
        instructions=account.instruction.texts,
        divided_by_instruction=account.instruction.divided,
    )
    (target / "export.json").write_bytes(manifest.encode())
    header = data_card.header(title, file, options.splits, options.license)
    (target / "README.md").write_text(header + manifest.card(), encoding="utf-8")
    if (described := data_card.dataset_info(format, title, file)) is not None:
        (target / data_card.DATASET_INFO).write_bytes(described)
    return Written(
        target,
        account,
        {**manifest.to_json(), "summary": manifest.summary},
        manifest.summary,
        file,
    )


@contextmanager
def _no_cycle_detection() -> Iterator[None]:
    """Suspend the search for reference cycles, a fifth of the time: pages have none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def publish(context: JobContext, written: Written) -> Frozen:
    """Publish the folder, and return what the export's row will record."""
    published = context.publish(written.folder, "export")
    return Frozen(
        uri=published.uri,
        filename=written.file.name,
        sha256=written.file.sha256,
        bytes=written.file.bytes,
        rows=written.account.tally.written,
        manifest=written.manifest,
        summary=written.summary,
        judgments=written.account.judgments,
        ai_judgments=written.account.ai_judgments,
    )


def _reported(lines: Iterable[bytes], context: JobContext, pace: ReadPace) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number % 1000 == 0:
            note = f"{number:,} rows"
            context.report(number, 0, f"{note}, {BESIDE_LABELERS}" if pace.rests else note)
        yield line


def _of_files(
    database: Database, project_id: int, format: str, options: ExportOptions, account: Account
) -> Iterator[tuple[DatasetPrompt, str]]:
    """Yield demonstrations from files, if the export includes them; they belong to no round."""
    if format not in export_rows.DEMONSTRATIONS:
        return
    counts, labels = account.counts.demonstrations, (options.categories, options.tags)
    with database.long_reader() as session:
        available = demonstrations.count_by_split(session, project_id)
        labelled = demonstrations.count_by_split(session, project_id, labels)
        older = export_since.count_older_demonstrations(session, project_id, options)
    reason = "in no round" if options.rounds else "imported for purpose train"
    is_wanted = Purpose.TRAIN in options.purposes and not options.rounds
    for split, count in available.items():
        if not is_wanted or split not in options.splits:
            counts.skip(reason if not is_wanted else f"split {split}", count)
        elif other := count - labelled.get(split, 0):
            counts.skip(judged_comparisons.OTHER_LABEL, other)
    if is_wanted:
        counts.skip(export_since.OLDER, older)
    after: int | None = 0 if is_wanted else None
    while after is not None:
        with database.long_reader() as session:
            page = demonstrations.of_files(
                session,
                project_id,
                options.splits,
                after=after,
                labels=labels,
                since=options.since,
            )
        yield from ((demonstration.prompt, demonstration.text) for demonstration in page.rows)
        after = page.after


def training_options(split: Split, judged_by: JudgedBy = JudgedBy.HUMAN) -> ExportOptions:
    """Return the options for a reward model's data: only train-purpose judgments of a split."""
    return ExportOptions(judged_by=judged_by, purposes=(Purpose.TRAIN,), splits=(split,))
