"""Models: all checkpoints, each with its inputs, lineage, results and files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Query, Request, Response

from app.errors import AttuneError, NotFound
from app.models import Checkpoint, CheckpointKind, Project
from app.services.checkpoints import checkpoints, merged_models
from app.services.checkpoints.checkpoints import Lineage
from app.services.checkpoints.merged_models import MergedFolder
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
    """The models, newest first, and the current policy."""

    rows: list[ModelRow]
    policy: Checkpoint | None
    project: Project


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One model with its ancestors, descendants and metrics."""

    model: Checkpoint
    lineage: Lineage
    round_number: int | None
    lines: RewardLines | None
    figures: Figures
    is_current: bool
    merged: list[MergedFolder]
    unmerged: list[str]
    error: str = ""

    @property
    def slices(self) -> list[Mapping[str, Any]]:
        """The accuracy of a reward model on parts of the held-out pairs, by category first."""
        heldout = self.model.metrics.get("heldout")
        groups = heldout.get("groups", []) if isinstance(heldout, Mapping) else []
        return sorted(groups, key=lambda group: group["name"] != "category")

    @property
    def ends(self) -> list[Mapping[str, Any]]:
        """The tokens that end its responses, as recorded by the worker that loaded it."""
        return list(self.model.config.get("ends", []))

    @property
    def ratings(self) -> list[Mapping[str, Any]]:
        """How well a reward model predicts the held-out ratings of each criterion."""
        return list(self.model.metrics.get("ratings") or ())

    @property
    def criterion_note(self) -> str:
        """What the reward is made of."""
        against = [str(row["criterion"]) for row in self.ratings if row["weight"] < 0]
        if not against:
            return "The reward is the weighted mean of the predictions."
        return (
            "The reward is the weighted mean of the predictions; "
            f"a high rating counts against a response on {', '.join(against)}."
        )

    @property
    def config(self) -> str:
        """The configuration of the run that made it, as JSON."""
        return json.dumps(self.model.config, indent=2, ensure_ascii=False, sort_keys=True)

    @property
    def has_files(self) -> bool:
        """Whether its files are stored here; those of a base model are not."""
        return self.model.kind != CheckpointKind.BASE


@router.get("/p/{slug}/models")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the models."""
    session, project = access.session, access.project
    listed = checkpoints.of_project(session, project.id)
    names = {checkpoint.id: checkpoint.name for checkpoint in listed}
    rows = [
        ModelRow(
            checkpoint,
            names.get(checkpoint.parent_id or 0, ""),
            _round_number(access, checkpoint),
            loop_overview.reward_lines(checkpoint),
        )
        for checkpoint in listed
    ]
    page = ModelsPage(rows, checkpoints.current_policy(session, project), project)
    return render(request, "models/page.html", page)


@router.get("/p/{slug}/models/{checkpoint_id}")
def show(request: Request, access: LeadAccess, checkpoint_id: int) -> Response:
    """Show one model."""
    return render(request, "models/one.html", _page(access, checkpoint_id))


@router.get("/p/{slug}/models/{checkpoint_id}/download")
def download(request: Request, access: LeadAccess, checkpoint_id: int) -> Response:
    """Send the folder of a model as a tar."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    if checkpoint.kind == CheckpointKind.BASE:
        raise NotFound(f"{checkpoint.name} is not stored here; it is at {checkpoint.uri}")
    name = f"{access.project.slug}-{checkpoint.name.lower().replace(' ', '-')}"
    return downloads.tar(request, checkpoint.uri, name)


@router.post("/p/{slug}/models/{checkpoint_id}/merge")
def merge(
    request: Request, access: LeadAccess, checkpoint_id: int, member: Annotated[str, Form()] = ""
) -> Response:
    """Have a worker merge the model into one folder."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    try:
        job = merged_models.request(access.session, checkpoint, member, user_id=access.user.id)
    except AttuneError as error:
        page = _page(access, checkpoint_id, str(error))
        return render(request, "models/one.html", page, status=409)
    url = addresses.path("models.show", slug=access.project.slug, checkpoint_id=checkpoint.id)
    return redirect(request, url, notice=f"Job {job.id} merges {checkpoint.name}.")


@router.get("/p/{slug}/models/{checkpoint_id}/merged")
def download_merged(
    request: Request,
    access: LeadAccess,
    checkpoint_id: int,
    member: Annotated[str, Query()] = "",
) -> Response:
    """Send the merged folder of a model as a tar."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    merged = merged_models.ready(access.session, checkpoint, member)
    name = f"{access.project.slug}-{checkpoint.name}-{member}-merged"
    return downloads.tar(request, merged.uri, name.lower().replace(" ", "-").replace("--", "-"))


@router.post("/p/{slug}/models/{checkpoint_id}/retire")
def retire(request: Request, access: LeadAccess, checkpoint_id: int) -> Response:
    """Retire a model, so that nothing new uses it."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    try:
        checkpoints.retire(access.session, checkpoint)
    except AttuneError as error:
        page = _page(access, checkpoint_id, str(error))
        return render(request, "models/one.html", page, status=409)
    url = addresses.path("models.show", slug=access.project.slug, checkpoint_id=checkpoint.id)
    return redirect(request, url, notice=f"{checkpoint.name} is retired.")


def _page(access: ProjectAccess, checkpoint_id: int, error: str = "") -> ModelPage:
    session, project = access.session, access.project
    checkpoint = checkpoints.get(session, project.id, checkpoint_id)
    current = checkpoints.current_policy(session, project)
    merged = merged_models.of_checkpoint(session, checkpoint)
    requested = {one.member for one in merged if not one.is_over}
    return ModelPage(
        checkpoint,
        checkpoints.lineage(session, checkpoint),
        _round_number(access, checkpoint),
        loop_overview.reward_lines(checkpoint),
        _figures(checkpoint.metrics),
        current is not None and current.id == checkpoint.id,
        merged,
        [name for name in merged_models.members(checkpoint) if name not in requested],
        error,
    )


def _round_number(access: ProjectAccess, checkpoint: Checkpoint) -> int | None:
    round_ = round_progress.by_id(access.session, checkpoint.round_id)
    return round_.number if round_ else None


def _figures(metrics: Mapping[str, object], prefix: str = "") -> Figures:
    """Return the scalar metrics of a model, naming nested ones by their path."""
    figures: Figures = {}
    for name, value in sorted(metrics.items()):
        if isinstance(value, bool):
            figures[prefix + name] = "yes" if value else "no"
        elif isinstance(value, int | float | str):
            figures[prefix + name] = value
        elif isinstance(value, Mapping) and name != "by_labeler":
            figures |= _figures(value, f"{prefix}{name} · ")
    return figures
