"""`import` and `export`: importing files and exporting data sets from the command line."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app.cli import processes
from app.cli.console import emit, err, say
from app.cli.serve import ready_database
from app.db import Database
from app.errors import Invalid, Unavailable
from app.formats import charsets, column_mapping, containers
from app.formats.column_mapping import ColumnsByField
from app.formats.containers import Container
from app.formats.manifest import OPTION_TITLES
from app.formats.preview import preview as preview_of
from app.models import ImportRun
from app.services.datasets import dedicated_process, exports, imports
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.project import projects
from app.settings import Settings, load
from app.web import downloads

POLL_S = 0.3


class ImportChoices(NamedTuple):
    """What an import decides by itself unless a person does."""

    same_labelers: bool | None
    member_splits: bool | None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import")(import_file)
    app.command("export")(export_file)


SameLabelers = Annotated[
    bool | None,
    typer.Option(
        "--same-labelers/--other-labelers",
        help="Whose the votes without a name are: an earlier file's unnamed labelers', or not. "
        "By default: theirs if at least half repeat their judgments and none contradicts.",
    ),
]
MemberSplits = Annotated[
    bool | None,
    typer.Option(
        "--file-splits/--content-splits",
        help="What sets the splits of an archive: the names of its files (train, validation, "
        "test), or the content of each prompt. By default: the names, if they say two or more.",
    ),
]


def import_file(
    project: Annotated[str, typer.Argument(help="The project's slug.")],
    files: Annotated[list[Path], typer.Argument(help="Files to import.", exists=True)],
    format: Annotated[str | None, typer.Option(help="Detected by default.")] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Write rejected lines with their reasons here.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="field=column, such as prompt=question; ignore=column leaves one out; "
            "value=WORDS=a says what a judgment in words of its own means.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help=f"Of plain text: {', '.join(charsets.ENCODINGS)}. Detected by default."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the first rows as they would be read, and stop.")
    ] = False,
    evaluation: Annotated[
        bool,
        typer.Option(
            "--evaluation",
            help="Declare the prompts an evaluation set: in the test split, never trained on.",
        ),
    ] = False,
    same_labelers: SameLabelers = None,
    member_splits: MemberSplits = None,
) -> None:
    """Import files of prompts, demonstrations, completions or preferences."""
    mapping = column_mapping.parse(columns or [])
    if preview:
        for path in files:
            _preview(path, format, mapping, encoding, member_splits)
        return
    database = ready_database(load())
    rejected: list[dict[str, Any]] = []
    total = 0
    for path in files:
        with database.reader() as session:
            project_id = projects.by_slug(session, project).id
        choices = ImportChoices(same_labelers, member_splits)
        run = _import_with_progress(
            database, project_id, path, format, mapping, evaluation, encoding, choices
        )
        rejected += [{"file": path.name, **reject} for reject in run.rejects]
        total += run.counts.get("rejected", 0)
        _report(path.name, run)
    for reject in rejected[:5]:
        say(f"{reject['file']}, line {reject['line']}: {reject['reason']}")
    if rejects is not None:
        _write_rejects(rejects, rejected, total)


def _write_rejects(to: Path, kept: Sequence[dict[str, Any]], total: int) -> None:
    lines = (json.dumps(reject, ensure_ascii=False) + "\n" for reject in kept)
    to.write_text("".join(lines), encoding="utf-8")
    first = f"the first {len(kept):,} of " if len(kept) < total else ""
    say(f"Wrote {first}{total:,} rejected lines to {to}")


def _report(name: str, run: ImportRun) -> None:
    """Write the counts as JSON; say which rows were there already, and the remarks."""
    emit(
        {
            "file": name,
            "format": run.format,
            "evaluation": run.is_evaluation,
            "counts": run.counts,
            "duplicates": run.duplicates,
            "remarks": run.remarks,
        }
    )
    for found in run.duplicates:
        where = "already in the project" if found["where"] == "project" else "repeated in the file"
        noun = "line" if found["count"] == 1 else "lines"
        lines = ", ".join(map(str, found["lines"]))
        more = ", …" if found["count"] > len(found["lines"]) else ""
        say(f"{name}: duplicate {found['kind']}: {found['count']} {where} ({noun} {lines}{more})")
    for remark in run.remarks:
        say(f"{name}: {remark}")


def _preview(
    path: Path,
    format: str | None,
    mapping: ColumnsByField,
    encoding: str | None,
    member_splits: bool | None,
) -> None:
    """Show what the first rows of a file would become, and which columns would be lost."""
    with path.open("rb") as opened, charsets.in_encoding(opened, encoding) as file:
        chunks = iter(lambda: file.read(1 << 16), b"")
        files = preview_of(chunks, format, mapping, member_splits=member_splits)
    for part in files:
        say(f"{part.file or path.name}: {part.title}")
        for record in part.records:
            say(f"  line {record.line}, {record.kind}")
            for text in (*record.prompt, *record.completions, *record.judgments):
                say(f"    {text}")
        for reject in part.rejects:
            say(f"  line {reject.line} would be rejected: {reject.reason}")
        for column, reason in part.lost.items():
            say(f"  column {column!r} would not be imported: {reason}")
        if part.notes:
            say(f"  kept as notes on the prompt: {', '.join(part.notes)}")
        for remark in (*part.said, *part.expected):
            say(f"  {remark}")


def _import_with_progress(
    database: Database,
    project_id: int,
    path: Path,
    format: str | None,
    mapping: ColumnsByField,
    is_evaluation: bool,
    encoding: str | None,
    choices: ImportChoices,
) -> ImportRun:
    """Import a file in this process, in short transactions that let a running server write."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    dedicated_process.adapt()
    with (
        Progress(*columns, console=err, transient=True) as progress,
        path.open("rb") as opened,
        charsets.in_encoding(opened, encoding) as file,
    ):
        task = progress.add_task(f"Importing {path.name}", total=path.stat().st_size)
        run = imports.run_in_batches(
            database.transaction,
            project_id,
            file,
            filename=path.name,
            format=format,
            mapping=mapping,
            is_evaluation=is_evaluation,
            same_labelers=choices.same_labelers,
            member_splits=choices.member_splits,
            words_later=True,
            report=lambda bytes_read: progress.update(task, completed=bytes_read),
        )
        progress.update(task, description=f"Making {path.name} searchable")
        for _ in imports.index_words(database.transaction):
            pass
        return run


def export_file(
    project: Annotated[str, typer.Argument(help="The project's slug.")],
    format: Annotated[str, typer.Argument(help="trl-implicit, trl-explicit, rich, …")],
    to: Annotated[Path, typer.Argument(help="The file to write, or the folder with --folder.")],
    option: Annotated[
        list[str] | None,
        typer.Option(help=f"name=value; names: {', '.join(OPTION_TITLES)}. See docs/exports.md."),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(help="jsonl, jsonl.gz, parquet or csv. By default, as the file's name ends."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only comparisons judged or settled after a time, or since an export (its number)."
        ),
    ] = None,
    folder: Annotated[
        bool, typer.Option("--folder", help="Write a folder: the data, the manifest and the card.")
    ] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="Start a worker for this export, if none is running.")
    ] = False,
) -> None:
    """Export a frozen data set with its manifest; a worker writes it."""
    if folder and to.exists() and any(to.iterdir()):
        raise Invalid(f"folder {to} is not empty")
    settings = load()
    database = ready_database(settings)
    with database.transaction() as session:
        found = projects.by_slug(session, project)
        chosen = dict(_option(text) for text in option or [])
        chosen |= {"since": since} if since else {}
        container = container or chosen.get("container")
        chosen["container"] = _container(Path() if folder else to, container)
        options = ExportOptions.from_json(chosen)
        row = exports.create(session, found, format=format, options=options, created_by_id=None)
        project_id, number = found.id, row.number
    with _worker(settings) if alone else nullcontext():
        done = _wait(database, project_id, number)
    written = downloads.below(settings.artifacts, done["uri"])
    if folder:
        shutil.copytree(written.parent, to, dirs_exist_ok=True)
        to = to / written.name
    else:
        shutil.copyfile(written, to)
        manifest = to.with_suffix(to.suffix + ".manifest.json")
        manifest.write_text(json.dumps(done["manifest"], indent=2) + "\n", encoding="utf-8")
    say(done["manifest"]["summary"])
    emit(
        {
            "file": str(to),
            "container": str(options.container),
            "rows": done["rows"],
            "sha256": done["sha256"],
            "counts": done["counts"],
        }
    )


@contextmanager
def _worker(settings: Settings) -> Iterator[None]:
    """Run a worker meanwhile."""
    log = settings.data_dir / "logs" / "worker.log"
    worker = processes.Child("worker", ["worker", "--queues", "cpu", "--poll"], log=log)
    try:
        yield
    finally:
        worker.stop()


def _container(to: Path, name: str | None) -> Container:
    """Return the container that is named, or that the name of the file ends with."""
    ending = containers.of_path(to)
    container = containers.named(name) if name else ending or Container.JSONL
    if ending not in (None, container):
        raise Invalid(f"{to.name} ends like {ending}, but the container is {container}")
    return container


def _wait(database: Database, project_id: int, number: int) -> dict[str, Any]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        progress.add_task(f"Waiting for a worker to write export {number} …", total=None)
        while True:
            with database.reader() as session:
                row = exports.get(session, project_id, number)
                state, error = exports.state_of(session, row)
            if state == exports.READY:
                return {
                    "uri": row.uri,
                    "rows": row.rows,
                    "sha256": row.sha256,
                    "counts": exports.counts(row),
                    "manifest": row.manifest,
                }
            if state == exports.FAILED:
                raise Unavailable(f"export {number} failed: {error.strip().splitlines()[-1]}")
            time.sleep(POLL_S)


def _option(text: str) -> tuple[str, Any]:
    name, sep, value = text.partition("=")
    if not sep:
        raise Invalid(f"an option is name=value, not {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
