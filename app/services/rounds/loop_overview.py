"""Where a project stands in the loop, in numbers, and what wants a look."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.states import RoundState
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonCompletion,
    Job,
    Judgment,
    Project,
    Purpose,
    Round,
    Split,
)
from app.services.checkpoints import checkpoints
from app.services.datasets import demonstrations
from app.services.project import prompts
from app.services.quality import agreement, labeler_quality
from app.services.rounds import evaluations, next_step, round_progress
from app.services.rounds.evaluations import EvaluationResults


@dataclass(frozen=True, slots=True)
class RewardLines:
    """A reward model beside people, on the same held-out votes; None where not defined."""

    accuracy: float | None
    low: float | None
    high: float | None
    human: float | None
    ceiling_low: float | None
    ceiling_high: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The round of an evaluation and how its new policy did."""

    round: Round
    results: EvaluationResults


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that wants a look, and where."""

    text: str
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Loop:
    """The loop of a project, drawn with its counts; the stage that is on now is named."""

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
    judged: tuple[Judged, ...]  # the oldest first
    now: str
    next: next_step.Next
    remarks: tuple[Remark, ...]


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
    """Return where a project stands and what to do next."""
    found = round_progress.of_project(session, project.id)
    current = found[0] if found else None
    overview = round_progress.overview(session, current) if current else None
    none = round_progress.LabelingProgress(0, 0, 0)
    reward = _newest(session, project.id, CheckpointKind.REWARD)
    running = next_step.running(overview)
    return Loop(
        round=current,
        overview=overview,
        splits=prompts.counts(session, project.id),
        demonstrations=demonstrations.count(session, project.id),
        candidates=_candidates(session, current),
        replaced=_replaced(overview),
        judgments=overview.labeling if overview else next_step.outside_rounds(session, project.id),
        evaluation_judgments=overview.evaluation_labeling if overview else none,
        reward=reward,
        reward_lines=reward_lines(reward),
        policy=checkpoints.current_policy(session, project),
        running=running,
        judged=judged(session, project.id),
        now=_STAGE.get(RoundState(current.state), "") if current else "",
        next=next_step.what_next(session, project, overview),
        remarks=remarks(session, project),
    )


def reward_lines(checkpoint: Checkpoint | None) -> RewardLines | None:
    """Read what a reward model's report says of it and of people; None without a report."""
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


def judged(session: Session, project_id: int) -> tuple[Judged, ...]:
    """Return the evaluations that somebody has judged, the oldest first."""
    found = []
    for one in reversed(evaluations.of_project(session, project_id)):
        round_ = session.get(Round, one.round_id) if one.round_id else None
        results = evaluations.results(session, one)
        if round_ is not None and results.share is not None:
            found.append(Judged(round_, results))
    return tuple(found)


def remarks(session: Session, project: Project) -> tuple[Remark, ...]:
    """Return what wants a look."""
    base = f"/p/{project.slug}"
    found = []
    low = len(agreement.lowest(session, project.id))
    if low:
        text = f"{low} comparison{'s' if low != 1 else ''} under 60 % agreement"
        found.append(Remark(text, "Settle", f"{base}/comparisons?state=low"))
    flagged = _flagged(session, project.id)
    if flagged:
        text = f"{flagged} flagged judgment{'s' if flagged != 1 else ''}"
        found.append(Remark(text, "Read", f"{base}/comparisons?state=flagged"))
    for one in labeler_quality.of_project(session, project.id):
        found += [
            Remark(f"{one.labeler} {remark}", "See", f"{base}/agreement") for remark in one.remarks
        ]
    return tuple(found)


def _newest(session: Session, project_id: int, kind: CheckpointKind) -> Checkpoint | None:
    found = checkpoints.of_project(session, project_id, kind)
    return found[0] if found else None


def _candidates(session: Session, round_: Round | None) -> int:
    """Count the completions in the round's comparisons."""
    if round_ is None:
        return 0
    query = (
        select(func.count(ComparisonCompletion.completion_id.distinct()))
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .where(Comparison.round_id == round_.id, Comparison.purpose == Purpose.TRAIN)
    )
    return session.scalar(query) or 0


def _replaced(overview: round_progress.RoundOverview | None) -> int | None:
    for job in overview.jobs if overview else ():
        found = job.result.get("preflight") if job.kind == "generate" else None
        if isinstance(found, Mapping):
            return int(found.get("replaced", 0))
    return None


def _flagged(session: Session, project_id: int) -> int:
    rows = session.scalars(
        select(Judgment.flags).where(Judgment.project_id == project_id, Judgment.is_current)
    )
    return sum(bool(flags) for flags in rows)
