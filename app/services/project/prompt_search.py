"""Prompts found by filters: a page at a time by key, or all of them as conditions of a statement.

Also which categories, tags and sources there are to filter by.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import bulk, keyset
from app.db.keyset import NEWEST_FIRST, ListOrder
from app.domain import search_words
from app.models import Completion, Demonstration, Prompt, PromptTag, Split
from app.services.project import word_index

PAGE = 50
NAMES_MOST = 1000
NO_CATEGORY = "(none)"
"""The category to filter by for prompts that have none."""
SORTABLE = {"split": Prompt.split, "category": Prompt.category, "source": Prompt.source}
"""The columns that the list can be sorted by, each with an index that continues with the id."""


@dataclass(frozen=True, slots=True)
class PromptFilter:
    """Which prompts to select; empty means all. `search` holds words of the messages."""

    split: Split | None = None
    search: str = ""
    source: str = ""
    category: str = ""
    tag: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the filters that are set, as plain JSON values."""
        return {name: str(value) for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class ListedPrompt:
    """A prompt in a list, with its tags and the number of its demonstrations and completions."""

    prompt: Prompt
    demonstrations: int
    completions: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedPrompts:
    """Some prompts, and where the next page begins."""

    rows: tuple[ListedPrompt, ...]
    next: ListOrder | None


def page(
    session: Session,
    project_id: int,
    selection: PromptFilter | None = None,
    *,
    order: ListOrder = NEWEST_FIRST,
    limit: int = PAGE,
) -> ListedPrompts:
    """Return prompts that match the filters, newest first unless another order is asked for.

    Raises:
        Invalid: prompts cannot be sorted by the column.
    """
    matching = conditions(session, project_id, selection or PromptFilter())
    answered = select(func.count()).where(Demonstration.prompt_id == Prompt.id)
    completed = select(func.count()).where(Completion.prompt_id == Prompt.id)
    query = select(Prompt, answered.scalar_subquery(), completed.scalar_subquery()).where(*matching)
    found = keyset.page(session, query, Prompt.id, SORTABLE, order, limit=limit)
    tagged = tags_by_prompt(session, [prompt.id for prompt, _, _ in found.rows])
    rows = tuple(
        ListedPrompt(prompt, answers, responses, tagged.get(prompt.id, ()))
        for prompt, answers, responses in found.rows
    )
    return ListedPrompts(rows, found.next)


def count(session: Session, project_id: int, selection: PromptFilter) -> int:
    """Count the prompts that match the filters."""
    matching = conditions(session, project_id, selection)
    return session.scalar(select(func.count()).select_from(Prompt).where(*matching)) or 0


def conditions(
    session: Session, project_id: int, selection: PromptFilter
) -> list[ColumnElement[bool]]:
    """Return the conditions that select the prompts."""
    matching: list[ColumnElement[bool]] = [Prompt.project_id == project_id]
    if selection.split is not None:
        matching.append(Prompt.split == selection.split)
    if selection.search.strip():
        terms = search_words.parse(selection.search)
        matching.append(word_index.contains(session, Prompt, terms))
    if selection.source:
        matching.append(Prompt.source == selection.source)
    if selection.category:
        matching.append(has_category(selection.category))
    if selection.tag:
        matching.append(has_tag(project_id, selection.tag))
    return matching


def has_category(name: str) -> ColumnElement[bool]:
    """Return the condition that a prompt has the category, or none for `NO_CATEGORY`."""
    return Prompt.category == ("" if name == NO_CATEGORY else name)


def has_tag(project_id: int, tag: str) -> ColumnElement[bool]:
    """Return the condition that a prompt has the tag."""
    return exists().where(
        PromptTag.project_id == project_id, PromptTag.tag == tag, PromptTag.prompt_id == Prompt.id
    )


def is_labelled(
    project_id: int, categories: tuple[str, ...], tags: tuple[str, ...]
) -> list[ColumnElement[bool]]:
    """Return the conditions that a prompt has one of the categories and one of the tags."""
    matching: list[ColumnElement[bool]] = []
    if categories:
        names = ["" if name == NO_CATEGORY else name for name in categories]
        matching.append(Prompt.category.in_(names))
    if tags:
        matching.append(
            exists().where(
                PromptTag.project_id == project_id,
                PromptTag.tag.in_(tags),
                PromptTag.prompt_id == Prompt.id,
            )
        )
    return matching


def ids_with_tags(session: Session, project_id: int, tags: Collection[str]) -> list[int]:
    """Return the ids of the prompts that have any of the tags."""
    query = select(PromptTag.prompt_id).where(
        PromptTag.project_id == project_id, PromptTag.tag.in_(tags)
    )
    return list(session.scalars(query.distinct()))


def categories(session: Session, project_id: int) -> list[str]:
    """Return the names of the categories."""
    return _names(session, Prompt.category, Prompt.project_id, project_id)


def tags(session: Session, project_id: int) -> list[str]:
    """Return the tags."""
    return _names(session, PromptTag.tag, PromptTag.project_id, project_id)


def sources(session: Session, project_id: int) -> list[str]:
    """Return the names of the sources of the prompts."""
    return _names(session, Prompt.source, Prompt.project_id, project_id)


def tags_by_prompt(session: Session, prompt_ids: list[int]) -> Mapping[int, tuple[str, ...]]:
    """Return the tags of each of the prompts that has any."""
    query = select(PromptTag.prompt_id, PromptTag.tag).where(
        bulk.among(session, PromptTag.prompt_id, prompt_ids)
    )
    found: dict[int, tuple[str, ...]] = {}
    for row in session.execute(query.order_by(PromptTag.prompt_id, PromptTag.tag)):
        found[row.prompt_id] = (*found.get(row.prompt_id, ()), row.tag)
    return found


def _names(
    session: Session,
    column: InstrumentedAttribute[str],
    project: InstrumentedAttribute[int],
    project_id: int,
) -> list[str]:
    """Return the distinct values of an indexed column, at most a thousand, without the empty one.

    The index is searched once for each name, which takes no longer with a million prompts.
    """

    def next_after(*limits: ColumnElement[bool]) -> Select[Any]:
        return select(func.min(column).label("name")).where(project == project_id, *limits)

    names = next_after(column > "").cte("names", recursive=True)
    following = next_after(column > names.c.name).correlate(names).scalar_subquery()
    names = names.union_all(select(following).where(names.c.name.is_not(None)))
    found = session.scalars(select(names.c.name).limit(NAMES_MOST + 1))
    return sorted(filter(None, found))
