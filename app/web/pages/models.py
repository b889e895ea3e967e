"""Models: every checkpoint with what went into it and what came of it, and its files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request, Response

from app.errors import AttuneError, NotFound
from app.models import Checkpoint, CheckpointKind, Project
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import Lineage
from app.services.rounds import loop_overview, round_progress
from app.services.rounds.loop_overview import RewardLines
from app.web import addresses, downloads
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = addresses.page_router()

Figures = dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model in the list."""

    model: Checkpoint
    parent: str
    round_number: int | None
    lines: RewardLines | None


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """The models, newest first, and which one answers now."""

    rows: list[ModelRow]
    policy: Checkpoint | None
    project: Project


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One model with its lineage, up and down."""

    model: Checkpoint
    lineage: Lineage
    round_number: int | None
    lines: RewardLines | None
    figures: Figures
    is_current: bool
    error: str = ""

    @property
    def config(self) -> str:
        """The configuration as it was used."""
        return json.dumps(self.model.config, indent=2, ensure_ascii=False, sort_keys=True)

    @property
    def has_files(self) -> bool:
        """False for a base model, which is named and not stored here."""
        return self.model.kind != CheckpointKind.BASE


@router.get("/p/{slug}/models")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the models."""
    session, project = access.session, access.project
    found = checkpoints.of_project(session, project.id)
    names = {one.id: one.name for one in found}
    rows = [
        ModelRow(
            one,
            names.get(one.parent_id or 0, ""),
            _round_number(access, one),
            loop_overview.reward_lines(one),
        )
        for one in found
    ]
    page = ModelsPage(rows, checkpoints.current_policy(session, project), project)
    return render(request, "models/page.html", page)


@router.get("/p/{slug}/models/{checkpoint_id}")
def show(request: Request, access: LeadAccess, checkpoint_id: int) -> Response:
    """Show one model."""
    return render(request, "models/one.html", _page(access, checkpoint_id))


@router.get("/p/{slug}/models/{checkpoint_id}/download")
def download(request: Request, access: LeadAccess, checkpoint_id: int) -> Response:
    """Send a model's folder as a tar."""
    found = checkpoints.get(access.session, access.project.id, checkpoint_id)
    if found.kind == CheckpointKind.BASE:
        raise NotFound(f"{found.name} was not made here; it is at {found.uri}")
    name = f"{access.project.slug}-{found.name.lower().replace(' ', '-')}"
    return downloads.tar(request, found.uri, name)


@router.post("/p/{slug}/models/{checkpoint_id}/retire")
def retire(request: Request, access: LeadAccess, checkpoint_id: int) -> Response:
    """Mark a model as no longer to be used."""
    found = checkpoints.get(access.session, access.project.id, checkpoint_id)
    try:
        checkpoints.retire(access.session, found)
    except AttuneError as error:
        page = _page(access, checkpoint_id, str(error))
        return render(request, "models/one.html", page, status=409)
    url = addresses.path("models.show", slug=access.project.slug, checkpoint_id=found.id)
    return redirect(request, url, notice=f"{found.name} is retired.")


def _page(access: ProjectAccess, checkpoint_id: int, error: str = "") -> ModelPage:
    session, project = access.session, access.project
    found = checkpoints.get(session, project.id, checkpoint_id)
    current = checkpoints.current_policy(session, project)
    return ModelPage(
        found,
        checkpoints.lineage(session, found),
        _round_number(access, found),
        loop_overview.reward_lines(found),
        _figures(found.metrics),
        current is not None and current.id == found.id,
        error,
    )


def _round_number(access: ProjectAccess, found: Checkpoint) -> int | None:
    round_ = round_progress.by_id(access.session, found.round_id)
    return round_.number if round_ else None


def _figures(metrics: Mapping[str, object], prefix: str = "") -> Figures:
    """Return the single figures among a model's metrics, nested ones by a path."""
    found: Figures = {}
    for name, value in sorted(metrics.items()):
        if isinstance(value, bool):
            found[prefix + name] = "yes" if value else "no"
        elif isinstance(value, int | float | str):
            found[prefix + name] = value
        elif isinstance(value, Mapping) and name != "by_labeler":
            found |= _figures(value, f"{prefix}{name} · ")
    return found
