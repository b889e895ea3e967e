"""The page that plans a round: the choices, the form, and the summary of its plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from app.domain.allowed_servers import AllowedServers
from app.domain.launch_choice import LaunchChoice
from app.domain.launch_estimate import LaunchEstimate
from app.domain.launch_sizes import ProjectData
from app.domain.plan import Algorithm, Engine, Parallel, RoundPlan
from app.errors import AttuneError, FigurePending, NotReady
from app.models import Judge, Project
from app.services.checkpoints import label_forecasts, reward_models
from app.services.checkpoints.label_forecasts import LabelForecast
from app.services.judging import judges
from app.services.quality import weights_in_use
from app.services.quality.result_memory import is_writing
from app.services.quality.weights_in_use import WeightsInUse
from app.services.rounds import (
    label_advice,
    launch_checks,
    launch_estimates,
    launch_plans,
    next_plan,
    readiness,
    round_progress,
)
from app.services.rounds.launch_estimates import ChoiceOffer
from app.services.rounds.readiness import Preview
from app.web import (
    choice_fields,
    gate_fields,
    next_step_words,
    overlap_words,
    part_rows,
    start_words,
)
from app.web.gate_fields import GateChoice
from app.web.judge_fields import JUDGED_BY
from app.web.launch_form import CHOSEN_FIELDS, LaunchForm
from app.web.next_step_parts import Button

KL_HELP = (
    "How strongly the policy is held to the SFT model, usually 0.02 to 0.2: raise it if responses "
    "degrade while the reward rises, lower it if the policy hardly changes. It falls as judgments "
    "accumulate."
)
ALGORITHMS = (
    (str(Algorithm.PPO), "PPO"),
    (str(Algorithm.RLOO), "RLOO"),
    (str(Algorithm.BEST_OF_N), "Best of n"),
    (str(Algorithm.DPO), "DPO"),
)
ALGORITHM_HELP = (
    "PPO and RLOO optimize the reward; RLOO needs no value model. Best of n is fine-tuned on the "
    "highest-scoring responses. DPO learns from the judgments directly."
)
ENGINES = (
    (str(Engine.STATIC), "in batches of similar length"),
    (str(Engine.CONTINUOUS), "with continuous batching"),
)


PARALLELS = (
    (str(Parallel.DATA), "the whole base model"),
    (str(Parallel.SHARDED), "a part of it (sharded)"),
)


@dataclass(frozen=True, slots=True)
class PartChoices:
    """What the rows of the rewards can be set to."""

    kinds: Sequence[tuple[str, str]] = part_rows.KINDS
    scores: Sequence[tuple[str, str]] = part_rows.SCORES
    reads: Sequence[tuple[str, str]] = part_rows.READS


@dataclass(frozen=True, slots=True)
class Summary:
    """What the plan of the form comes to.

    Attributes:
        choice: what it was made from.
        preview: its counts and training steps; None if a setting breaks a rule.
        estimate: its time and memory.
        offers: the three choices.
        fill: fields that another choice has filled in.
        problem: what prevents the launch.
        remedy: a `readiness.Remedy` if the project lacks something; else empty.
        overlap_advice: whether more labelers per comparison or more comparisons are worth more.
    """

    choice: LaunchChoice
    preview: Preview | None = None
    estimate: LaunchEstimate | None = None
    offers: Sequence[ChoiceOffer] = ()
    fill: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""
    remedy: str = ""
    overlap_advice: str = ""


@dataclass(frozen=True, slots=True)
class LaunchPage:
    """The form, the totals of its plan, and what prevents the launch.

    `problems` are the messages about single fields, by field name.
    """

    form: LaunchForm
    summary: "Summary"
    number: int
    project: Project
    needs_sft: bool
    policy_prompts: int
    in_use: WeightsInUse
    why_no_weights: str
    error: str = ""
    kl_help: str = KL_HELP
    algorithms: Sequence[tuple[str, str]] = ALGORITHMS
    rules: Sequence[tuple[str, str]] = choice_fields.RULES
    algorithm_help: str = ALGORITHM_HELP
    engines: Sequence[tuple[str, str]] = ENGINES
    parallels: Sequence[tuple[str, str]] = PARALLELS
    problems: Mapping[str, str] = field(default_factory=dict)
    judges: Sequence[Judge] = ()
    judged_by: Sequence[tuple[str, str]] = JUDGED_BY
    reward_sources: Sequence[str] = ()
    part_choices: PartChoices = PartChoices()
    gate_choices: Sequence[GateChoice] = ()
    forecast: LabelForecast | None = None

    @property
    def is_unfolded(self) -> bool:
        """Whether all settings are shown: something in them was asked for, or must be corrected."""
        return self.form.count or bool(self.problems)

    @property
    def preview(self) -> Preview | None:
        """The counts and training steps; None if a setting breaks a rule."""
        return self.summary.preview

    @property
    def remedy(self) -> Button | None:
        """Where the lead supplies what the project lacks; None if nothing is lacking."""
        if not self.summary.remedy:
            return None
        return next_step_words.remedies(self.project.slug, self.summary.remedy)[0]

    @property
    def starts(self) -> list[tuple[str, str]]:
        """The models that the policy can be initialized from, as options of the form."""
        return start_words.choices(has_sft=self._has_sft)

    @property
    def start_help(self) -> str:
        """What that choice does."""
        return start_words.help_text(has_sft=self._has_sft)

    @property
    def share_help(self) -> str:
        """What the current policy's share of the candidates does."""
        return start_words.share_help(has_sft=self._has_sft)

    @property
    def _has_sft(self) -> bool:
        return not self.needs_sft or (self.preview is not None and self.preview.sft is not None)

    @property
    def judge_names(self) -> list[tuple[str, str]]:
        """The AI judges that can be named, as options of the form."""
        return [(judge.pseudonym, f"{judge.name} ({judge.pseudonym})") for judge in self.judges]

    @property
    def weights_help(self) -> str:
        """Where the labeler weights come from, and what changing them does."""
        if self.why_no_weights:
            return f"Clear them: {self.why_no_weights}."
        if self.in_use.weights:
            return (
                f"In use in the project since {self.in_use.since:%Y-%m-%d}; change or clear them "
                "for this round only. Labelers who are not named weigh 1."
            )
        return (
            "Such as L2 0.5, L3 1.4, for this round only; labelers who are not named weigh 1. "
            "Agreement, Labeler weights, proposes weights for every round."
        )


def page_of(
    session: Session,
    project: Project,
    user_id: int,
    servers: AllowedServers,
    form: LaunchForm,
    *,
    error: str = "",
) -> LaunchPage:
    """Return the page for a form; one that was not filled in shows the next round's plan."""
    data = launch_plans.data_of(session, project)
    plan_before = next_plan.of_project(session, project, None, data)
    shown = form if form.asked else LaunchForm.of(plan_before)
    shown, summary = _summarized(session, project, user_id, servers, shown, plan_before, data)
    made = round_progress.of_project(session, project.id)
    return LaunchPage(
        shown,
        summary,
        (made[0].number if made else 0) + 1,
        project,
        project.sft_checkpoint_id is None,
        min(data.train, shown.policy_prompts),
        weights_in_use.of_project(session, project),
        weights_in_use.why_not(project),
        error or summary.problem,
        problems=shown.problems(plan_before, servers),
        judges=[one for one in judges.of_project(session, project.id) if one.archived_at is None],
        reward_sources=(
            *reward_models.readable(session, project.id, user_id),
            *servers.scoring,
        ),
        gate_choices=gate_fields.choices(shown),
        forecast=label_forecasts.newest(session, project.id),
    )


def _summarized(
    session: Session,
    project: Project,
    user_id: int,
    servers: AllowedServers,
    form: LaunchForm,
    plan_before: RoundPlan,
    data: ProjectData,
) -> tuple[LaunchForm, Summary]:
    """Return the form, filled in if another choice was taken, and what its plan comes to."""
    summary = Summary(LaunchChoice(form.choice))
    try:
        plan = form.chosen_plan(plan_before, data)
        choice = plan.choice or summary.choice
        summary = replace(summary, choice=choice)
        if form.is_switched:
            filled = LaunchForm.of(plan)
            summary = replace(summary, fill=filled.model_dump(include=set(CHOSEN_FIELDS)))
            form = filled.model_copy(update={"asked": True, "count": form.count})
        preview = readiness.preview(session, project, plan, data)
        summary = replace(
            summary,
            preview=preview,
            estimate=launch_estimates.of_plan(session, project, plan, preview),
            offers=launch_estimates.offers(session, project, data, plan, choice.name),
            overlap_advice=_overlap_advice(session, project, plan, data.train),
        )
        launch_checks.check(session, project, plan, user_id, servers)
    except AttuneError as invalid:
        remedy = invalid.remedy if isinstance(invalid, NotReady) else ""
        return form, replace(summary, problem=str(invalid), remedy=remedy)
    return form, summary


def _overlap_advice(session: Session, project: Project, plan: RoundPlan, prompts: int) -> str:
    """Return the advice on overlap in words; empty where there is nothing to advise on.

    Measuring agreement takes long in a large project, and nobody may write for so long.
    """
    if is_writing(session):
        return "Advice on more labelers or more comparisons appears when you reload this page."
    try:
        advice = label_advice.of_plan(session, project, plan, prompts)
    except FigurePending:
        return "Advice on more labelers or more comparisons: the agreement is being computed."
    return overlap_words.sentence(advice) if advice is not None else ""
