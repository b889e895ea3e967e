"""Models: all checkpoints, each with its inputs, lineage, results and files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Query, Request, Response
from pydantic import BaseModel

from app.domain import model_size
from app.domain.plan import RoundPlan
from app.domain.states import OVER_JOB_STATES
from app.errors import AttuneError, NotFound
from app.models import Checkpoint, CheckpointKind, Job, Project
from app.services.checkpoints import base_models, checkpoints, hub_pushes, merged_models
from app.services.checkpoints.base_models import ChosenBase
from app.services.checkpoints.checkpoints import Lineage
from app.services.checkpoints.hub_pushes import HubPush
from app.services.checkpoints.merged_models import MergedFolder
from app.services.rounds import gate_views, loop_overview, page_verdicts, round_progress
from app.services.rounds.gate_views import GateView
from app.services.rounds.loop_overview import RewardLines
from app.web import addresses, chart_files, downloads, label_value_chart, verdict_words
from app.web.charts import Chart
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render
from app.web.row_ids import RowId
from app.web.verdict_words import VerdictWords

router = addresses.page_router()

MERGED = "merged "
"""Before the name of a merged model in the form; an ensemble has several."""

Figures = dict[str, float | int | str]
SHOWN_APART = frozenset({"label_value", "label_value_reason", "rate_search"})


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


class PushForm(BaseModel):
    """Where a model is uploaded, and what of it; the box is ticked until the form was sent."""

    name: str = ""
    what: str | None = None
    private: bool = False

    @property
    def push(self) -> HubPush:
        """The upload that the form asks for."""
        what = self.what or ""
        return HubPush(
            self.name.strip(), self.private, what.startswith(MERGED), what.removeprefix(MERGED)
        )


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One model with its ancestors, descendants and metrics."""

    model: Checkpoint
    verdict: VerdictWords
    lineage: Lineage
    round_number: int | None
    lines: RewardLines | None
    figures: Figures
    is_current: bool
    merged: list[MergedFolder]
    unmerged: list[str]
    base: ChosenBase | None
    pushes: list[Job]
    push: PushForm
    gates: tuple[GateView, ...]
    choice: str  # that its round was launched with; empty without one
    value_chart: Chart | None  # of what more judgments would bring
    error: str = ""

    @property
    def is_pushing(self) -> bool:
        """Whether an upload is not over."""
        return any(job.state not in OVER_JOB_STATES for job in self.pushes)

    @property
    def pushable(self) -> list[tuple[str, str]]:
        """What can be uploaded, the merged models first."""
        merged = [
            (f"{MERGED}{one.member}", f"the merged model {one.member}".strip())
            for one in self.merged
            if one.is_ready
        ]
        is_adapter = self.model.config.get("layout") != "full"
        return [*merged, ("", "the adapter as it is" if is_adapter else "the model as it is")]

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
    def rate_search(self) -> Mapping[str, Any] | None:
        """How the learning rate was chosen; None if it was set."""
        found = self.model.metrics.get("rate_search")
        return found if isinstance(found, Mapping) else None

    @property
    def label_value(self) -> Mapping[str, Any] | None:
        """What more judgments would bring, as measured with parts of them; None if it was not."""
        value = self.model.metrics.get("label_value")
        return value if isinstance(value, Mapping) else None

    @property
    def label_value_reason(self) -> str:
        """Why that could not be measured; empty if it was, or was not asked for."""
        return str(self.model.metrics.get("label_value_reason", ""))

    @property
    def left_out(self) -> list[tuple[str, int]]:
        """What its training left out, with the reason and how much; empty if nothing."""
        metrics = self.model.metrics
        too_long = metrics.get("too_long", 0)
        counts = {
            "too long": len(too_long) if isinstance(too_long, list) else int(too_long or 0),
            "refused by the chat template": int(metrics.get("refused", 0)),
            "prompts without room for a response": int(metrics.get("prompts_without_room", 0)),
            "held-out prompts without room for a response": int(
                metrics.get("heldout_prompts_without_room", 0)
            ),
            "prompts beyond the plan": int(metrics.get("prompts_beyond_plan", 0)),
        }
        return [(reason, count) for reason, count in counts.items() if count]

    @property
    def trained_on(self) -> str:
        """How much data there was before something was left out; empty if it is not recorded."""
        comparisons = self.model.metrics.get("comparisons")
        if comparisons is None:
            return ""
        return f"{int(comparisons):,} comparison{'' if comparisons == 1 else 's'}"

    @property
    def size(self) -> str:
        """The total and the trained parameters; empty for models made before they were recorded."""
        size = self.model.config.get("size")
        if not size:
            return ""
        return model_size.words(size["parameters"], size["trainable_parameters"])

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
def show(request: Request, access: LeadAccess, checkpoint_id: RowId) -> Response:
    """Show one model."""
    return render(request, "models/one.html", _page(access, checkpoint_id))


@router.get("/p/{slug}/models/{checkpoint_id}/label-value.csv")
def value(access: LeadAccess, checkpoint_id: RowId) -> Response:
    """Return what more judgments would bring as a file for spreadsheets.

    Raises:
        NotFound: it was not measured.
    """
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    chart = label_value_chart.of_model(checkpoint, access.project.slug)
    if chart is None:
        raise NotFound(f"{checkpoint.name} has no record of what more judgments would bring")
    return chart_files.csv(chart)


@router.get("/p/{slug}/models/{checkpoint_id}/download")
def download(request: Request, access: LeadAccess, checkpoint_id: RowId) -> Response:
    """Send the folder of a model as a tar."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    if checkpoint.kind == CheckpointKind.BASE:
        raise NotFound(f"{checkpoint.name} is not stored here; it is at {checkpoint.uri}")
    name = f"{access.project.slug}-{checkpoint.name.lower().replace(' ', '-')}"
    return downloads.tar(request, checkpoint.uri, name)


@router.post("/p/{slug}/models/{checkpoint_id}/merge")
def merge(
    request: Request, access: LeadAccess, checkpoint_id: RowId, member: Annotated[str, Form()] = ""
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
    checkpoint_id: RowId,
    member: Annotated[str, Query()] = "",
) -> Response:
    """Send the merged folder of a model as a tar."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    merged = merged_models.ready(access.session, checkpoint, member)
    name = f"{access.project.slug}-{checkpoint.name}-{member}-merged"
    return downloads.tar(request, merged.uri, name.lower().replace(" ", "-").replace("--", "-"))


@router.post("/p/{slug}/models/{checkpoint_id}/push")
def push(
    request: Request, access: LeadAccess, checkpoint_id: RowId, form: Annotated[PushForm, Form()]
) -> Response:
    """Have a worker upload the model to a hub."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    try:
        job = hub_pushes.request(access.session, checkpoint, form.push, user_id=access.user.id)
    except AttuneError as error:
        page = _page(access, checkpoint_id, str(error), form)
        return render(request, "models/one.html", page, status=422)
    url = addresses.path("models.show", slug=access.project.slug, checkpoint_id=checkpoint.id)
    return redirect(request, f"{url}#hub", notice=f"Job {job.id} pushes {checkpoint.name}.")


@router.get("/p/{slug}/models/{checkpoint_id}/pushes")
def live_pushes(request: Request, access: LeadAccess, checkpoint_id: RowId) -> Response:
    """Return the uploads of a model, which refresh while one is at work."""
    page = _page(access, checkpoint_id)
    return render(request, "models/_pushes.html", page, fragment=True)


@router.post("/p/{slug}/models/{checkpoint_id}/check")
def check(request: Request, access: LeadAccess, checkpoint_id: RowId) -> Response:
    """Have a base model checked again."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    base_models.check_again(access.session, checkpoint, actor_id=access.user.id)
    url = addresses.path("models.show", slug=access.project.slug, checkpoint_id=checkpoint.id)
    return redirect(request, url, notice=f"{checkpoint.name} is being checked.")


@router.post("/p/{slug}/models/{checkpoint_id}/retire")
def retire(request: Request, access: LeadAccess, checkpoint_id: RowId) -> Response:
    """Retire a model, so that nothing new uses it."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    try:
        checkpoints.retire(access.session, checkpoint)
    except AttuneError as error:
        page = _page(access, checkpoint_id, str(error))
        return render(request, "models/one.html", page, status=409)
    url = addresses.path("models.show", slug=access.project.slug, checkpoint_id=checkpoint.id)
    return redirect(request, url, notice=f"{checkpoint.name} is retired.")


def _page(
    access: ProjectAccess, checkpoint_id: int, error: str = "", form: PushForm | None = None
) -> ModelPage:
    session, project = access.session, access.project
    checkpoint = checkpoints.get(session, project.id, checkpoint_id)
    current = checkpoints.current_policy(session, project)
    merged = merged_models.of_checkpoint(session, checkpoint)
    requested = {one.member for one in merged if not one.is_over}
    return ModelPage(
        checkpoint,
        verdict_words.words(page_verdicts.of_checkpoint(session, checkpoint), project.slug),
        checkpoints.lineage(session, checkpoint),
        _round_number(access, checkpoint),
        loop_overview.reward_lines(checkpoint),
        _figures(checkpoint.metrics),
        current is not None and current.id == checkpoint.id,
        merged,
        [name for name in merged_models.members(checkpoint) if name not in requested],
        base_models.of(session, checkpoint) if checkpoint.kind == CheckpointKind.BASE else None,
        hub_pushes.of_checkpoint(session, checkpoint),
        form or PushForm(private=True),
        gate_views.of_checkpoint(session, checkpoint),
        _choice(access, checkpoint),
        label_value_chart.of_model(checkpoint, project.slug),
        error,
    )


def _round_number(access: ProjectAccess, checkpoint: Checkpoint) -> int | None:
    round_ = round_progress.by_id(access.session, checkpoint.round_id)
    return round_.number if round_ else None


def _choice(access: ProjectAccess, checkpoint: Checkpoint) -> str:
    """Return the choice that a model's round was launched with; empty without one."""
    round_ = round_progress.by_id(access.session, checkpoint.round_id)
    choice = RoundPlan.from_json(round_.plan).choice if round_ else None
    return choice.words if choice else ""


def _figures(metrics: Mapping[str, object], prefix: str = "") -> Figures:
    """Return the scalar metrics of a model, naming nested ones by their path."""
    figures: Figures = {}
    for name, value in sorted(metrics.items()):
        if name in SHOWN_APART:
            continue
        if isinstance(value, bool):
            figures[prefix + name] = "yes" if value else "no"
        elif isinstance(value, int | float | str):
            figures[prefix + name] = value
        elif isinstance(value, Mapping) and name != "by_labeler":
            figures |= _figures(value, f"{prefix}{name} · ")
    return figures
