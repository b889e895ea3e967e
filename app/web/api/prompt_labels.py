"""Categories and tags of prompts: the names in use, and bulk edits with undo."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.models import PromptEdit, Split
from app.services.project import prompt_labels, prompt_search
from app.services.project.prompt_labels import EditedPrompts, LabelAction, PromptSelection
from app.services.project.prompt_search import PromptFilter
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute
from app.web.row_ids import RowId, RowIdIn

router = APIRouter(
    prefix="/api/v1/projects/{slug}/prompts", tags=["prompts"], route_class=GuardedRoute
)

IDS_MOST = 10_000


class PromptLabelsOut(BaseModel):
    """The names to filter prompts by."""

    categories: list[str]
    tags: list[str]
    sources: list[str]


class PromptFilterIn(BaseModel):
    """Which prompts to change; omitted filters select all."""

    split: Split | None = None
    search: str = ""
    source: str = ""
    category: str = Field("", description="(none) selects prompts without a category.")
    tag: str = ""


class PromptEditIn(BaseModel):
    """A change of many prompts: those with the ids, those that match the filter, or both.

    An empty filter without ids would change every prompt; that is done only with `all` set.
    """

    action: LabelAction
    value: str = Field(description="The tag or category; an empty category clears it.")
    filter: PromptFilterIn = PromptFilterIn()
    ids: list[RowIdIn] | None = Field(None, max_length=IDS_MOST)
    all: bool = False

    def selection(self) -> PromptSelection:
        """Return the selected prompts.

        Raises:
            Invalid: nothing is selected.
        """
        chosen = PromptFilter(**self.filter.model_dump())
        ids = None if self.ids is None else tuple(self.ids)
        return prompt_labels.selection(chosen, ids, everything=self.all)


class PromptEditOut(BaseModel):
    """A bulk edit; POST to its `undo` restores the prompts."""

    id: int
    action: LabelAction
    value: str
    prompts: int = Field(description="The number of prompts that it changed.")
    summary: str
    created_at: datetime
    undone_at: datetime | None

    @classmethod
    def of(cls, edit: PromptEdit) -> Self:
        """Return an edit with a sentence on what it did."""
        return cls(
            id=edit.id,
            action=LabelAction(edit.action),
            value=edit.value,
            prompts=edit.prompts,
            summary=prompt_labels.sentence(edit),
            created_at=edit.created_at,
            undone_at=edit.undone_at,
        )


class EditedPromptsOut(BaseModel):
    """The prompts selected and changed; `edit` is null if all were as wanted already."""

    selected: int
    changed: int
    edit: PromptEditOut | None

    @classmethod
    def of(cls, edited: EditedPrompts) -> Self:
        """Return the outcome of a bulk edit."""
        edit = None if edited.edit is None else PromptEditOut.of(edited.edit)
        return cls(selected=edited.selected, changed=edited.changed, edit=edit)


class UndoneEditOut(BaseModel):
    """An edit that was undone; prompts that were changed after it stay as they are."""

    restored: int
    left: int


@router.get("/labels")
def labels(access: LeadAccess) -> PromptLabelsOut:
    """Return the categories, tags and sources of the prompts."""
    session, project_id = access.session, access.project.id
    return PromptLabelsOut(
        categories=prompt_search.categories(session, project_id),
        tags=prompt_search.tags(session, project_id),
        sources=prompt_search.sources(session, project_id),
    )


@router.get("/edits")
def list_edits(
    access: LeadAccess, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[PromptEditOut]:
    """Return the bulk edits, newest first."""
    edits = prompt_labels.edits(access.session, access.project.id, limit=limit)
    return [PromptEditOut.of(edit) for edit in edits]


@router.post("/edits", status_code=201)
def edit(access: LeadAccess, body: PromptEditIn) -> EditedPromptsOut:
    """Tag, untag or categorize many prompts at once."""
    edited = prompt_labels.edit(
        access.session,
        access.project,
        body.selection(),
        body.action,
        body.value,
        actor_id=access.user.id,
    )
    return EditedPromptsOut.of(edited)


@router.post("/edits/{edit_id}/undo")
def undo(access: LeadAccess, edit_id: RowId) -> UndoneEditOut:
    """Undo a bulk edit."""
    undone = prompt_labels.undo(access.session, access.project, edit_id, actor_id=access.user.id)
    return UndoneEditOut(restored=undone.restored, left=undone.left)
