"""Whether a project has what a plan needs, and what the plan will ask of people and machines."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.plan import STARTER, Algorithm, RoundPlan
from app.domain.step_counts import StepCount
from app.errors import Invalid
from app.models import Comparison, JudgmentKind, Project, Prompt, Purpose, Split
from app.services.checkpoints import checkpoints
from app.services.datasets import demonstrations

LEAST_K = {
    JudgmentKind.PICK: 2,
    JudgmentKind.RANK: 2,
    JudgmentKind.RATE: 1,
    JudgmentKind.THUMBS: 1,
    JudgmentKind.EDIT: 1,
}
"""Kinds of judgment a reward model learns from, with the completions that each takes."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a plan comes to. `sft` is None where it is left out.

    `comparisons` are those the reward model will learn from, earlier rounds' included; `judgments`
    those that people are going to be asked for, evaluation included.
    """

    demonstrations: int
    prompts: int
    heldout_prompts: int
    evaluation_prompts: int
    comparisons: int
    judgments: int
    sft: StepCount | None
    reward: StepCount
    policy: StepCount


def check(session: Session, project: Project, plan: RoundPlan) -> None:
    """Refuse a plan that could not be carried out.

    Raises:
        Invalid: naming what is missing.
    """
    k = plan.k or project.k
    kind = JudgmentKind(project.judgment_kind)
    _check_kind(project, kind, k, plan)
    if plan.candidates < k and not plan.use_imported:
        raise Invalid(f"{plan.candidates} candidates cannot fill a comparison of {k}")
    has_model = checkpoints.current_policy(session, project) is not None
    if not has_model and not project.base_model:
        raise Invalid(f"choose a base model for {project.name}, or {STARTER!r}, before a round")
    if project.sft_checkpoint_id is None:
        _check_sft(session, project, plan)
    for split, needed in ((Split.TRAIN, "to label"), (Split.TEST, "to evaluate on")):
        if not _count_prompts(session, project.id, split):
            raise Invalid(f"{project.name} has no prompt in the {split} split {needed}")


def preview(session: Session, project: Project, plan: RoundPlan) -> Preview:
    """Count what a plan asks of people and of machines."""
    prompts = {split: _count_prompts(session, project.id, split) for split in Split}
    taken = min(plan.prompts, prompts[Split.TRAIN])
    heldout = min(plan.heldout_prompts, prompts[Split.VALIDATION])
    tested = min(plan.evaluation.prompts, prompts[Split.TEST])
    comparisons = _count_judged(session, project.id) + taken * plan.comparisons_per_prompt
    overlap = plan.overlap or project.overlap
    shown = demonstrations.count(session, project.id, Split.TRAIN)
    does_sft = plan.sft is not None and project.sft_checkpoint_id is None and shown
    return Preview(
        demonstrations=shown,
        prompts=taken,
        heldout_prompts=heldout,
        evaluation_prompts=tested,
        comparisons=comparisons,
        judgments=(taken + heldout) * plan.comparisons_per_prompt * overlap
        + tested * plan.evaluation.overlap,
        sft=plan.sft.steps(shown) if plan.sft is not None and does_sft else None,
        reward=plan.reward.steps(max(comparisons, 1)),
        policy=plan.policy.steps(max(prompts[Split.TRAIN], 1), max(comparisons, 1)),
    )


def _check_kind(project: Project, kind: JudgmentKind, k: int, plan: RoundPlan) -> None:
    """Refuse judgments that the reward model or the plan's algorithm cannot learn from."""
    if kind not in LEAST_K:
        raise Invalid(
            f"a round learns from what people think of completions; {project.name} asks them to "
            f"{kind} an answer of their own, which SFT learns from"
        )
    if k < LEAST_K[kind]:
        raise Invalid(
            f"a round learns from comparisons of two or more completions; "
            f"{project.name} asks for {kind} of {k}"
        )
    implies_pairs = k > 1 or kind is JudgmentKind.EDIT
    if plan.policy.algorithm is Algorithm.DPO and not implies_pairs:
        raise Invalid(
            f"dpo learns from completions that were compared; {project.name} asks for "
            f"{kind} of {k}. Choose ppo, rloo or best-of-n"
        )


def _check_sft(session: Session, project: Project, plan: RoundPlan) -> None:
    if plan.sft is None:
        if project.base_model == STARTER and project.policy_checkpoint_id is None:
            raise Invalid("a starter model knows nothing yet; its first round needs SFT")
        return
    if project.base_model is None:
        raise Invalid(f"SFT needs a base model; {project.name} has none")
    if not demonstrations.count(session, project.id, Split.TRAIN):
        raise Invalid(f"SFT needs demonstrations in the train split; {project.name} has none")


def _count_prompts(session: Session, project_id: int, split: Split) -> int:
    query = select(func.count(Prompt.id)).where(
        Prompt.project_id == project_id, Prompt.split == split
    )
    return session.scalar(query) or 0


def _count_judged(session: Session, project_id: int) -> int:
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
