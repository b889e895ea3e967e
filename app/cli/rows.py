"""`list` and `tag`: rows of a project as JSON lines, and categories and tags of many prompts."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from app.cli.console import emit, say
from app.cli.serve import ready_database
from app.errors import Invalid
from app.models import Split
from app.services.datasets import row_stream
from app.services.datasets.row_filters import MOST
from app.services.datasets.row_queries import LISTS, RowQuery
from app.services.project import projects, prompt_labels
from app.services.project.prompt_labels import LabelAction
from app.services.project.prompt_search import PromptFilter
from app.services.quality import leaderboard_rows
from app.services.quality.leaderboard_filters import LeaderboardFilters
from app.settings import load

Checked = TypeVar("Checked", bound=BaseModel)

LEADERBOARD: Final = "leaderboard"
QUERIES: Final[Mapping[str, type[RowQuery]]] = {row.name: query for query, row in LISTS.items()}
_PROMPT_FILTERS: Final = ("split", "search", "source", "category", "tag")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_rows)
    app.command()(tag)


def list_rows(
    kind: Annotated[str, typer.Argument(help="comparisons, judgments, preferences or leaderboard")],
    project: Annotated[str, typer.Argument(help="The project's slug.")],
    where: Annotated[
        list[str] | None,
        typer.Option(help="name=value, such as round=2, tag=hard or texts=true; repeat for more."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Write to this file instead of standard output.")
    ] = None,
) -> None:
    """List rows of a project as JSON Lines; the filters are the API's."""
    if kind == LEADERBOARD:
        _list_sources(project, _pairs(where), to)
        return
    if kind not in QUERIES:
        known = ", ".join([*QUERIES, LEADERBOARD])
        raise Invalid(f"there is no list {kind!r}; there are {known}")
    query = _query(QUERIES[kind], _pairs(where))
    database = ready_database(load())
    with database.reader() as session:
        chosen = query.selection(session, projects.by_slug(session, project).id)
        read = query.reader(chosen, MOST)
        first = read(session, query.cursor)
    parts = row_stream.lines(database.reader, read, LISTS[type(query)].row, first)
    if to is None:
        sys.stdout.writelines(part.decode() for part in parts)
        return
    count = 0
    with to.open("wb") as file:
        for part in parts:
            file.write(part)
            count += part.count(b"\n")
    say(f"Wrote {count:,} {kind} to {to}")


def tag(
    project: Annotated[str, typer.Argument(help="The project's slug.")],
    value: Annotated[str, typer.Argument(help="The tag or category.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Which prompts: split, search, source, category or tag=value."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All prompts.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tag.")] = False,
    category: Annotated[
        bool, typer.Option("--category", help="Set the category instead; empty clears it.")
    ] = False,
    undo: Annotated[int | None, typer.Option(help="Undo the edit with this number.")] = None,
) -> None:
    """Tag many prompts, remove a tag, or set their category; each edit can be undone."""
    database = ready_database(load())
    with database.transaction() as session:
        own = projects.by_slug(session, project)
        if undo is not None:
            undone = prompt_labels.undo(session, own, undo, actor_id=None)
            emit({"edit": undo, "restored": undone.restored, "left": undone.left})
            say(prompt_labels.restored(undone))
            return
        selection = prompt_labels.selection(_filter(where), None, everything=everything)
        action = _action(remove=remove, category=category)
        edited = prompt_labels.edit(session, own, selection, action, value, actor_id=None)
        number = edited.edit.id if edited.edit else None
        emit({"edit": number, "selected": edited.selected, "changed": edited.changed})
        undoing = f" Undo with --undo {number}." if number else ""
        say(f"{prompt_labels.outcome(edited)}{undoing}")


def _list_sources(project: str, given: Mapping[str, Any], to: Path | None) -> None:
    """List the sources of the leaderboard, the strongest first."""
    asked = _checked(LeaderboardFilters, given)
    with ready_database(load()).reader() as session:
        report = asked.read(session, projects.by_slug(session, project).id)
    rows = [row.to_json() for row in leaderboard_rows.of_board(report.board, asked.reference)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if to is None:
        sys.stdout.write(lines)
        return
    to.write_text(lines, encoding="utf-8")
    say(f"Wrote {len(rows):,} sources to {to}")


def _action(*, remove: bool, category: bool) -> LabelAction:
    if remove and category:
        raise Invalid("--remove is for tags; to clear a category, give an empty one")
    if category:
        return LabelAction.CATEGORIZE
    return LabelAction.UNTAG if remove else LabelAction.TAG


def _filter(where: list[str] | None) -> PromptFilter:
    given = _pairs(where)
    unknown = sorted(set(given) - set(_PROMPT_FILTERS))
    if unknown:
        known = ", ".join(_PROMPT_FILTERS)
        raise Invalid(f"prompts have no filter {unknown[0]!r}; there are {known}")
    split = given.pop("split", None)
    if split is not None and split not in list(Split):
        raise Invalid(f"split must be one of {', '.join(Split)}, not {split!r}")
    return PromptFilter(split=None if split is None else Split(split), **given)


def _query(kind: type[RowQuery], given: Mapping[str, str]) -> RowQuery:
    of_pages = sorted(given.keys() & {"limit", "format"})
    if of_pages:
        raise Invalid(f"{of_pages[0]} is for pages of the API; here all rows come as JSON Lines")
    return _checked(kind, given)


def _checked(kind: type[Checked], given: Mapping[str, Any]) -> Checked:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        raise Invalid(f"{name}: {problem['msg']}, not {problem['input']!r}") from None


def _pairs(texts: list[str] | None) -> dict[str, Any]:
    pairs = {}
    for text in texts or []:
        name, sep, value = text.partition("=")
        if not sep:
            raise Invalid(f"a filter is name=value, not {text!r}")
        pairs[name] = value
    return pairs
