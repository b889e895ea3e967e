"""A project's loop in figures: each stage, the next step, and what needs attention."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.climb import Climb
from app.domain.states import RoundState
from app.errors import FigurePending
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonCompletion,
    Job,
    Project,
    Purpose,
    Round,
    Split,
)
from app.services.checkpoints import checkpoints
from app.services.datasets import demonstrations
from app.services.project import prompts
from app.services.quality import agreement, labeler_quality
from app.services.quality.brief_cache import cached_briefly
from app.services.queue import counted_judgments
from app.services.rounds import climb, gates, next_step, round_progress
from app.services.rounds.next_step import NextStep


@dataclass(frozen=True, slots=True)
class RewardLines:
    """A reward model's accuracy and the levels to compare it with, on the same held-out votes.

    None where a figure is not defined.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    human: float | None
    ceiling_low: float | None
    ceiling_high: float | None


@dataclass(frozen=True, slots=True)
class Attention:
    """What the lead should check."""

    low_agreement: int  # comparisons
    flagged: int  # judgments
    labelers: tuple[tuple[str, str], ...]  # a labeler, and a remark on their judgments
    is_pending: bool = False  # figures of agreement and of labelers are being computed


@dataclass(frozen=True, slots=True)
class Loop:
    """A project's loop: the figures of each stage, and which stage is under way."""

    round: Round | None
    overview: round_progress.RoundOverview | None
    splits: dict[Split, int]
    demonstrations: int
    candidates: int
    replaced: int | None
    judgments: round_progress.LabelingProgress
    evaluation_judgments: round_progress.LabelingProgress
    reward: Checkpoint | None
    reward_lines: RewardLines | None
    policy: Checkpoint | None
    running: Job | None
    climb: Climb
    now: str  # the stage under way; empty between rounds
    is_waiting: bool  # that stage waits at a check
    next: NextStep
    attention: Attention


_STAGE = {
    RoundState.SFT: "prompts",
    RoundState.GENERATING: "candidates",
    RoundState.LABELING: "judgments",
    RoundState.REWARD: "reward",
    RoundState.POLICY: "policy",
    RoundState.EVALUATING: "evaluation",
    RoundState.DECIDING: "evaluation",
}


def of_project(session: Session, project: Project) -> Loop:
    """Return the loop of a project, with the next step."""
    rounds = round_progress.of_project(session, project.id)
    current = rounds[0] if rounds else None
    overview = round_progress.overview(session, current) if current else None
    none = round_progress.LabelingProgress(0, 0, 0)
    reward = _newest(session, project.id, CheckpointKind.REWARD)
    running = next_step.running(overview)
    return Loop(
        round=current,
        overview=overview,
        splits=prompts.counts(session, project.id),
        demonstrations=demonstrations.count(session, project.id),
        candidates=_count_candidates(session, current.id) if current else 0,
        replaced=_replaced(overview),
        judgments=overview.labeling if overview else next_step.outside_rounds(session, project.id),
        evaluation_judgments=overview.evaluation_labeling if overview else none,
        reward=reward,
        reward_lines=reward_lines(reward),
        policy=checkpoints.current_policy(session, project),
        running=running,
        climb=climb.of_project(session, project),
        now=_STAGE.get(gates.stage_of(session, current), "") if current else "",
        is_waiting=current is not None and current.state == RoundState.GATED,
        next=next_step.what_next(session, project, overview),
        attention=attention(session, project.id),
    )


def reward_lines(checkpoint: Checkpoint | None) -> RewardLines | None:
    """Return the lines of a reward model from the report in its metrics; None without one."""
    people = (checkpoint.metrics if checkpoint else {}).get("people")
    if not isinstance(people, Mapping):
        return None
    accuracy = people.get("accuracy_on_votes") or {}
    ceiling = people.get("ceiling") or {}
    return RewardLines(
        accuracy.get("value"),
        accuracy.get("low"),
        accuracy.get("high"),
        (people.get("human_level") or {}).get("value"),
        ceiling.get("ceiling_low"),
        ceiling.get("ceiling_high"),
    )


def attention(session: Session, project_id: int) -> Attention:
    """Count what the lead should check, and collect the remarks on labelers."""
    flagged = _count_flagged(session, project_id)
    try:
        low = agreement.lowest(session, project_id).total
        remarks = tuple(
            (quality.labeler, remark)
            for quality in labeler_quality.of_project(session, project_id)
            for remark in quality.remarks
        )
    except FigurePending:
        return Attention(0, flagged, (), is_pending=True)
    return Attention(low, flagged, remarks)


def _newest(session: Session, project_id: int, kind: CheckpointKind) -> Checkpoint | None:
    newest_first = checkpoints.of_project(session, project_id, kind)
    return newest_first[0] if newest_first else None


@cached_briefly
def _count_candidates(session: Session, round_id: int) -> int:
    """Count the completions in the round's comparisons."""
    query = (
        select(func.count(ComparisonCompletion.completion_id.distinct()))
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .where(Comparison.round_id == round_id, Comparison.purpose == Purpose.TRAIN)
    )
    return session.scalar(query) or 0


def _replaced(overview: round_progress.RoundOverview | None) -> int | None:
    for job in overview.jobs if overview else ():
        preflight = job.result.get("preflight") if job.kind == "generate" else None
        if isinstance(preflight, Mapping):
            return int(preflight.get("replaced", 0))
    return None


@cached_briefly
def _count_flagged(session: Session, project_id: int) -> int:
    query = select(func.count()).where(
        counted_judgments.stands(), counted_judgments.is_flagged(session, project_id)
    )
    return session.scalar(query) or 0
