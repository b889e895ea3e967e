"""Readiness of a project for a round's plan, and a preview of the work the plan creates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import policy_looks
from app.domain.choosing import ChoiceRule
from app.domain.gates.judging import foreseen
from app.domain.gates.verdicts import several
from app.domain.judged_by import JudgedBy
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.launch_sizes import ProjectData
from app.domain.plan import STARTER, Algorithm, RoundPlan
from app.domain.reward_parts import WeightSource
from app.domain.step_counts import StepCount
from app.errors import Invalid, NotReady
from app.models import Comparison, Project, Prompt, Purpose, Split
from app.services.checkpoints import base_models, checkpoints
from app.services.checkpoints.base_models import CheckState
from app.services.datasets import demonstrations
from app.services.quality import weights_in_use
from app.services.quality.brief_cache import cached_briefly
from app.services.rounds import choosers, instruction_remarks, judge_jobs


class Remedy(StrEnum):
    """Where a lead supplies what a round lacks."""

    BASE_MODEL = "base_model"
    TASK = "task"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Preview:
    """The counts and training steps of a plan.

    `sft` is None if the round does no SFT, `reward` if it fits no reward model; it then asks for no
    judgments but those of its evaluation.

    `comparisons` counts what the reward model will learn from, earlier rounds included;
    `judgments` what labelers will be asked for, evaluation included. `remarks` are what a lead
    should know before the launch, `model_remarks` those on the base model and SFT.
    """

    demonstrations: int
    prompts: int
    heldout_prompts: int
    evaluation_prompts: int
    comparisons: int
    judgments: int
    sft: StepCount | None
    reward: StepCount | None
    policy: StepCount
    remarks: tuple[str, ...] = ()
    model_remarks: tuple[str, ...] = ()
    check_remarks: tuple[str, ...] = ()  # at which checks the round would probably wait
    choice_remarks: tuple[str, ...] = ()  # how a rule would choose comparisons, or why not


def check(session: Session, project: Project, plan: RoundPlan) -> None:
    """Refuse a plan that the project cannot carry out.

    Raises:
        Invalid: the project lacks something the plan needs; the message names it.
    """
    if plan.fits_reward:
        _check_judgments(project, plan)
    if plan.reward.labelers and plan.reward.labelers_from is WeightSource.PLAN:
        weights_in_use.check(session, project, plan.reward.labelers)
    has_model = checkpoints.current_policy(session, project) is not None
    if not has_model and not project.base_model:
        raise NotReady(
            f"choose a base model for {project.name}, or “{STARTER}”, before a round",
            Remedy.BASE_MODEL,
        )
    _check_base(session, project)
    if project.sft_checkpoint_id is None:
        _check_sft(session, project, plan)
    use = "to label" if plan.fits_reward else "to train on"
    for split, needed in ((Split.TRAIN, use), (Split.TEST, "to evaluate on")):
        if not _has_prompts(session, project.id, split):
            raise NotReady(
                f"{project.name} has no prompt in the {split} split {needed}", Remedy.IMPORT
            )
    judge_jobs.check_plan(session, project, plan)


def preview(session: Session, project: Project, plan: RoundPlan, data: ProjectData) -> Preview:
    """Count the judgments and training steps of a plan with what its project has."""
    prompts = min(plan.prompts, data.train) if plan.fits_reward else 0
    heldout = min(plan.heldout_prompts, data.validation) if plan.fits_reward else 0
    evaluated = min(plan.evaluation.prompts, data.test)
    comparisons = data.judged + prompts * plan.comparisons_per_prompt
    overlap = plan.overlap or project.overlap
    if plan.judge and plan.reward.judged_by is JudgedBy.AI:
        overlap = 0
    evaluators = 0 if plan.evaluation.judge else plan.evaluation.overlap
    does_sft = plan.sft is not None and project.sft_checkpoint_id is None and data.demonstrations
    policy_steps = plan.policy.steps(max(data.train, 1), max(comparisons, 1))
    return Preview(
        demonstrations=data.demonstrations,
        prompts=prompts,
        heldout_prompts=heldout,
        evaluation_prompts=evaluated,
        comparisons=comparisons,
        judgments=(prompts + heldout) * plan.comparisons_per_prompt * overlap
        + evaluated * evaluators
        + _fresh_votes(plan, policy_steps.total, data.validation),
        sft=plan.sft.steps(data.demonstrations) if plan.sft is not None and does_sft else None,
        reward=plan.reward.steps(max(comparisons, 1)) if plan.fits_reward else None,
        policy=policy_steps,
        remarks=instruction_remarks.remarks(session, project),
        model_remarks=tuple(_model_remarks(session, project, plan)),
        check_remarks=tuple(
            _foreseen(data.labelers, overlap if plan.fits_reward else 0, evaluators, evaluated)
        ),
        choice_remarks=tuple(_choice_remarks(session, project, plan, data.train)),
    )


def _choice_remarks(
    session: Session, project: Project, plan: RoundPlan, available: int
) -> Iterator[str]:
    """Yield why no comparison would be chosen, or from how many prompts they are."""
    chooser = choosers.find(session, project.id, plan.choose)
    reason = chooser.reason
    if chooser.model is not None:
        if available > plan.prompts:
            sampled = min(plan.choose.sampled(plan.prompts), available)
            yield (
                f"candidates are sampled for {sampled:,} prompts, from which {chooser.model.name} "
                f"chooses those of {plan.choose.count(plan.prompts):,}"
            )
            return
        reason = choosers.FEW_PROMPTS.format(plan.prompts)
    if reason:
        yield f"all comparisons will be drawn at random: {reason}"


def _fresh_votes(plan: RoundPlan, steps: int, heldout: int) -> int:
    """Count the judgments that are asked for at most while the policy trains."""
    looks = policy_looks.plan(plan.policy, steps, heldout)
    asking = -(-steps // looks.every) - 1  # neither at the start nor at the end
    return max(asking, 0) * min(plan.policy.fresh_votes, looks.prompts)


def _foreseen(labelers: int, overlap: int, evaluators: int, evaluated: int) -> Iterator[str]:
    """Yield the checks that the round would fail as far as can be told before it starts."""
    wanted = max(overlap, evaluators)
    if wanted > labelers:
        yield (
            f"each comparison needs {wanted} judgments by different people, but the project has "
            f"{several(labelers, 'active labeler')}: add labelers, or ask for fewer judgments"
        )
    if expected := foreseen(evaluated):
        yield expected


def _check_judgments(project: Project, plan: RoundPlan) -> None:
    k = plan.k or project.k
    _check_kind(project, JudgmentKind(project.judgment_kind), k, plan)
    if plan.candidates < k and not plan.use_imported:
        raise Invalid(f"{plan.candidates} candidates cannot fill a comparison of {k}")
    if k < 2 and plan.choose.rule is not ChoiceRule.RANDOM:
        raise Invalid(
            f"the rule {plan.choose.rule} chooses comparisons of 2 or more responses; those of "
            f"{project.name} have {k}"
        )


def _check_kind(project: Project, kind: JudgmentKind, k: int, plan: RoundPlan) -> None:
    """Refuse judgments that the reward model or the plan's algorithm cannot learn from."""
    if not KINDS[kind].judges_completions:
        raise NotReady(
            f"a round learns from judgments of responses; {project.name} asks labelers to "
            f"{kind} responses of their own, which only SFT learns from",
            Remedy.TASK,
        )
    fewest = KINDS[kind].fewest
    if k < fewest:
        raise NotReady(
            f"a round needs comparisons of {fewest} or more responses for {kind}; "
            f"{project.name} has {k}",
            Remedy.TASK,
        )
    if plan.policy.algorithm is Algorithm.DPO and not KINDS[kind].implies_pairs(k):
        raise Invalid(
            f"DPO learns from pairs of responses, and {kind} of {k} in {project.name} implies "
            "none; choose PPO, RLOO or best of n"
        )


def _check_sft(session: Session, project: Project, plan: RoundPlan) -> None:
    if plan.sft is None:
        if project.base_model == STARTER and project.policy_checkpoint_id is None:
            raise Invalid("a starter model is untrained; its first round needs SFT")
        return
    if project.base_model is None:
        raise NotReady(f"SFT needs a base model; {project.name} has none", Remedy.BASE_MODEL)
    if project.base_model == STARTER and not _has_demonstrations(session, project):
        raise NotReady(
            "a starter is trained from scratch on demonstrations, and "
            f"{project.name} has none in the train split; import some, or choose a trained base "
            "model",
            Remedy.IMPORT,
        )


def skips_sft(session: Session, project: Project, plan: RoundPlan) -> bool:
    """Whether the SFT of a plan is left out: a trained base model can do without demonstrations."""
    return (
        plan.sft is not None
        and project.sft_checkpoint_id is None
        and project.base_model != STARTER
        and not _has_demonstrations(session, project)
    )


def carried_out(session: Session, project: Project, plan: RoundPlan) -> RoundPlan:
    """Return the plan as the project can carry it out: without an SFT that has no data."""
    return replace(plan, sft=None) if skips_sft(session, project, plan) else plan


def _check_base(session: Session, project: Project) -> None:
    base = base_models.in_use(session, project)
    if base is not None and base.refusal:
        raise NotReady(
            f"the base model {base.name} cannot be used: {base.refusal}", Remedy.BASE_MODEL
        )


def _model_remarks(session: Session, project: Project, plan: RoundPlan) -> Iterator[str]:
    """Yield what is not known of the base model yet, and what is left out without data."""
    base = base_models.in_use(session, project)
    if base is not None and base.state is CheckState.CHECKING:
        yield (
            f"{base.name} is being checked; if it cannot be used, the round fails at its first "
            "stage, and says why"
        )
    elif base is not None and base.state is CheckState.FAILED:
        yield f"{base.name} could not be checked: {base.error}"
    if skips_sft(session, project, plan):
        yield (
            "SFT is left out: there are no demonstrations in the train split; import some to "
            "fine-tune the base model on them first"
        )


def _has_demonstrations(session: Session, project: Project) -> bool:
    return demonstrations.exist(session, project.id, Split.TRAIN)


def _has_prompts(session: Session, project_id: int, split: Split) -> bool:
    query = select(Prompt.id).where(Prompt.project_id == project_id, Prompt.split == split)
    return session.scalar(query.limit(1)) is not None


@cached_briefly
def count_judged(session: Session, project_id: int) -> int:
    """Count the comparisons that people have judged and a reward model learns from."""
    query = (
        select(func.count(Comparison.id))
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(
            Comparison.project_id == project_id,
            Comparison.purpose == Purpose.TRAIN,
            Comparison.done_slots > 0,
            Prompt.split == Split.TRAIN,
        )
    )
    return session.scalar(query) or 0
