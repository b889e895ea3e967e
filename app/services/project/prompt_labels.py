"""Categories and tags of prompts: kept from files, set on many prompts at once, and undone.

A bulk edit records each prompt that it changed, so that undoing it restores exactly those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Result,
    Select,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain import prompt_labels
from app.errors import Conflict, Invalid, NotFound
from app.models import Project, Prompt, PromptEdit, PromptEditItem, PromptTag
from app.services.people import audit
from app.services.project import prompt_search
from app.services.project.prompt_search import PromptFilter
from app.services.project.prompts import StoredRow

SHOWN_EDITS = 5
_WITHOUT_OBJECTS: Final = {"synchronize_session": False}
_COUNTED: Final = {"preserve_rowcount": True}


class LabelAction(StrEnum):
    """What a bulk edit does to the prompts."""

    TAG = "tag"
    UNTAG = "untag"
    CATEGORIZE = "categorize"


@dataclass(frozen=True, slots=True)
class PromptSelection:
    """The prompts of a bulk edit: those that match a filter, or those with these ids."""

    filter: PromptFilter = field(default_factory=PromptFilter)
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class EditedPrompts:
    """A bulk edit: how many prompts were selected, and the edit if it changed any."""

    selected: int
    edit: PromptEdit | None

    @property
    def changed(self) -> int:
        """How many prompts were changed."""
        return self.edit.prompts if self.edit else 0


@dataclass(frozen=True, slots=True)
class UndoneEdit:
    """An edit that was undone: how many prompts are as before, and how many had changed since."""

    edit: PromptEdit
    restored: int

    @property
    def left(self) -> int:
        """How many prompts were left because they were changed after the edit."""
        return self.edit.prompts - self.restored


@dataclass(frozen=True, slots=True)
class KeptLabels:
    """What became of the labels in a file, for prompts that were in the project before."""

    categories_filled: int = 0
    categories_kept: int = 0  # the file says another
    tags_new: int = 0

    def counts(self) -> Mapping[str, int]:
        """Return the counts for an import's tally."""
        return {
            "categories_filled": self.categories_filled,
            "categories_kept": self.categories_kept,
            "tags_new": self.tags_new,
        }


def keep(
    session: Session,
    project_id: int,
    labelled: Sequence[tuple[StoredRow, prompt_labels.PromptLabels]],
) -> KeptLabels:
    """Keep the labels of imported prompts.

    Tags are added. A category is filled in where a prompt has none, and otherwise stays; new
    prompts have theirs.
    """
    named: dict[int, str] = {}
    for row, labels in labelled:
        if labels.category and not row.is_new:
            named.setdefault(row.id, labels.category)
    filled, kept = _fill_categories(session, named)
    pairs = {(row.id, tag): None for row, labels in labelled for tag in labels.tags}
    existing = {row.id for row, labels in labelled if labels.tags and not row.is_new}
    present = _tag_pairs(session, list(existing))
    rows = [(*pair, project_id) for pair in pairs if pair not in present]
    bulk.insert(session, PromptTag, ("prompt_id", "tag", "project_id"), rows)
    if filled or any(prompt_id in existing for prompt_id, *_ in rows):
        _count_change(session, project_id)
    return KeptLabels(filled, kept, len(rows))


def selection(
    chosen: PromptFilter, ids: tuple[int, ...] | None, *, everything: bool = False
) -> PromptSelection:
    """Return the prompts of a bulk edit.

    Raises:
        Invalid: neither ids nor a filter is given, which would select every prompt, unasked.
    """
    if ids is None and not chosen.to_json() and not everything:
        raise Invalid("no prompts are selected: give a filter or ids, or ask for all prompts")
    return PromptSelection(chosen, ids)


def edit(
    session: Session,
    project: Project,
    selection: PromptSelection,
    action: LabelAction,
    value: str,
    *,
    actor_id: int | None,
) -> EditedPrompts:
    """Add a tag to prompts, remove it from them, or set their category (empty: none).

    Raises:
        Invalid: the tag or the category breaks a rule, or an id is not of this project.
    """
    checked = _checked(action, value)
    _count_change(session, project.id)
    matching = prompt_search.conditions(session, project.id, selection.filter)
    if selection.ids is not None:
        _check_ids(session, project.id, selection.ids)
        matching.append(Prompt.id.in_(selection.ids))
    selected = session.scalar(select(func.count(Prompt.id)).where(*matching)) or 0
    row = PromptEdit(
        project_id=project.id,
        action=action,
        value=checked,
        prompts=0,
        actor_id=actor_id,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    changing = select(literal(row.id), Prompt.id, Prompt.category).where(
        *matching, _would_change(action, checked)
    )
    columns = ["edit_id", "prompt_id", "category_before"]
    inserted = insert(PromptEditItem).from_select(columns, changing)
    row.prompts = _rows(session.execute(inserted, execution_options=_COUNTED))
    if not row.prompts:
        session.delete(row)
        session.flush()
        return EditedPrompts(selected, None)
    _apply(session, row)
    _record(session, row, f"prompts.{action}", actor_id, selection.filter.to_json())
    return EditedPrompts(selected, row)


def undo(session: Session, project: Project, edit_id: int, *, actor_id: int | None) -> UndoneEdit:
    """Undo a bulk edit on the prompts that are as it left them.

    Raises:
        NotFound: the project has no such edit.
        Conflict: it was undone before.
    """
    _count_change(session, project.id)
    row = session.get(PromptEdit, edit_id)
    if row is None or row.project_id != project.id:
        raise NotFound(f"there is no edit {edit_id} of prompts in this project")
    if row.undone_at is not None:
        raise Conflict(f"edit {edit_id} was undone before")
    restored = _revert(session, row)
    row.undone_at = now(session)
    _record(session, row, "prompts.undo", actor_id, {"restored": restored})
    return UndoneEdit(row, restored)


def edits(session: Session, project_id: int, *, limit: int = SHOWN_EDITS) -> list[PromptEdit]:
    """Return the newest bulk edits."""
    query = select(PromptEdit).where(PromptEdit.project_id == project_id)
    return list(session.scalars(query.order_by(PromptEdit.id.desc()).limit(limit)))


def sentence(row: PromptEdit) -> str:
    """Say what an edit did."""
    what = _prompts(row.prompts)
    if row.action == LabelAction.TAG:
        return f"{what} tagged “{row.value}”"
    if row.action == LabelAction.UNTAG:
        return f"tag “{row.value}” removed from {what}"
    return f"{what} put in category “{row.value}”" if row.value else f"category of {what} cleared"


def outcome(edited: EditedPrompts) -> str:
    """Say what a bulk edit changed, and what was as wanted already."""
    same = edited.selected - edited.changed
    if edited.edit is None:
        return f"Nothing was changed: {_prompts(same)} selected, all as wanted already."
    said = sentence(edited.edit)
    return f"{said[:1].upper()}{said[1:]}." + (f" {same:,} were so already." if same else "")


def restored(undone: UndoneEdit) -> str:
    """Say what undoing an edit restored."""
    left = f" {_prompts(undone.left)} changed since then stay unchanged." if undone.left else ""
    return f"Undone: {_prompts(undone.restored)} restored.{left}"


def _prompts(count: int) -> str:
    return f"{count:,} prompt{'s' if count != 1 else ''}"


def _checked(action: LabelAction, value: str) -> str:
    if action is not LabelAction.CATEGORIZE:
        return prompt_labels.tag(value)
    name = prompt_labels.category(value)
    if name == prompt_search.NO_CATEGORY:
        raise Invalid(f"{name!r} stands for prompts without a category; leave the field empty")
    return name


def _check_ids(session: Session, project_id: int, ids: Sequence[int]) -> None:
    query = select(Prompt.id).where(Prompt.id.in_(ids), Prompt.project_id == project_id)
    missing = sorted(set(ids) - set(session.scalars(query)))
    if missing:
        raise Invalid(f"there is no prompt {missing[0]} in this project")


def _would_change(action: LabelAction, value: str) -> ColumnElement[bool]:
    if action is LabelAction.CATEGORIZE:
        return Prompt.category != value
    has = exists().where(PromptTag.prompt_id == Prompt.id, PromptTag.tag == value)
    return ~has if action is LabelAction.TAG else has


def _apply(session: Session, row: PromptEdit) -> None:
    if row.action == LabelAction.TAG:
        _add_tags(session, row)
    elif row.action == LabelAction.UNTAG:
        _remove_tags(session, row)
    else:
        changed = update(Prompt).where(Prompt.id.in_(_items(row.id))).values(category=row.value)
        session.execute(changed, execution_options=_WITHOUT_OBJECTS)


def _revert(session: Session, row: PromptEdit) -> int:
    """Put the prompts back where the edit is still in force; return how many."""
    if row.action == LabelAction.TAG:
        return _remove_tags(session, row)
    if row.action == LabelAction.UNTAG:
        return _add_tags(session, row)
    before = (
        select(PromptEditItem.category_before)
        .where(PromptEditItem.edit_id == row.id, PromptEditItem.prompt_id == Prompt.id)
        .scalar_subquery()
    )
    changed = (
        update(Prompt)
        .where(Prompt.id.in_(_items(row.id)), Prompt.category == row.value)
        .values(category=before)
    )
    return _rows(session.execute(changed, execution_options=_WITHOUT_OBJECTS))


def _add_tags(session: Session, row: PromptEdit) -> int:
    has = exists().where(
        PromptTag.prompt_id == PromptEditItem.prompt_id, PromptTag.tag == row.value
    )
    without = select(PromptEditItem.prompt_id, literal(row.value), literal(row.project_id)).where(
        PromptEditItem.edit_id == row.id, ~has
    )
    columns = ["prompt_id", "tag", "project_id"]
    inserted = insert(PromptTag).from_select(columns, without)
    return _rows(session.execute(inserted, execution_options=_COUNTED))


def _remove_tags(session: Session, row: PromptEdit) -> int:
    theirs = delete(PromptTag).where(
        PromptTag.tag == row.value, PromptTag.prompt_id.in_(_items(row.id))
    )
    return _rows(session.execute(theirs, execution_options=_WITHOUT_OBJECTS))


def _items(edit_id: int) -> Select[Any]:
    return select(PromptEditItem.prompt_id).where(PromptEditItem.edit_id == edit_id)


def _fill_categories(session: Session, named: Mapping[int, str]) -> tuple[int, int]:
    """Set the category of prompts that have none; return how many, and how many have another."""
    if not named:
        return 0, 0
    query = select(Prompt.id, Prompt.category).where(bulk.among(session, Prompt.id, named.keys()))
    present = {row.id: row.category for row in session.execute(query)}
    empty = {prompt_id: named[prompt_id] for prompt_id, name in present.items() if not name}
    bulk.update(session, Prompt.category, empty)
    differ = sum(name not in ("", named[prompt_id]) for prompt_id, name in present.items())
    return len(empty), differ


def _tag_pairs(session: Session, prompt_ids: list[int]) -> set[tuple[int, str]]:
    if not prompt_ids:
        return set()
    tagged = prompt_search.tags_by_prompt(session, prompt_ids)
    return {(prompt_id, tag) for prompt_id, tags in tagged.items() for tag in tags}


def _count_change(session: Session, project_id: int) -> None:
    """Count a change of labels; the lock on the row lets one edit of a project run at a time."""
    changed = update(Project).where(Project.id == project_id)
    session.execute(
        changed.values(prompt_changes=Project.prompt_changes + 1),
        execution_options=_WITHOUT_OBJECTS,
    )


def _record(
    session: Session,
    row: PromptEdit,
    action: str,
    actor_id: int | None,
    details: Mapping[str, object],
) -> None:
    audit.record(
        session,
        action,
        sentence(row),
        actor_id=actor_id,
        project_id=row.project_id,
        details={"edit": row.id, "value": row.value, "prompts": row.prompts, **details},
    )


def _rows(result: Result[Any]) -> int:
    return cast(CursorResult[Any], result).rowcount
