"""Estimates of what a round would take, from what earlier jobs of this installation took."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import launch_estimate, launch_sizes
from app.domain.launch_choice import TITLES, ChoiceName
from app.domain.launch_estimate import LaunchEstimate, Pace, Work
from app.domain.launch_sizes import SIZES, ProjectData
from app.domain.plan import STARTER, RoundPlan
from app.domain.states import JobState
from app.models import (
    Checkpoint,
    Completion,
    Demonstration,
    Job,
    Project,
    Prompt,
    Round,
    WorkerHeartbeat,
)
from app.services.checkpoints import base_models
from app.services.quality.brief_cache import cached_briefly
from app.services.rounds import readiness
from app.services.rounds.readiness import Preview

KINDS = ("sft", "generate", "reward", "policy", "evaluate")
RECENT = 5
"""The newest jobs of each kind that are measured."""

TEXTS = 200
"""Prompts, and responses, whose lengths are measured."""


@dataclass(frozen=True, slots=True)
class ChoiceOffer:
    """A choice of the launch with what it would take."""

    name: ChoiceName
    title: str
    description: str
    judgments: int
    judging_s: float | None  # at the labelers' usual pace; None if it is not known
    estimate: LaunchEstimate
    reduced: tuple[str, ...]


def offers(
    session: Session, project: Project, data: ProjectData, plan: RoundPlan, name: ChoiceName
) -> list[ChoiceOffer]:
    """Return the three choices; what the plan has changed of its own choice is in each."""
    pace = pace_of(session, project, plan)
    return [
        _offer(session, project, launch_sizes.moved(plan, name, other, data), other, data, pace)
        for other in ChoiceName
    ]


def of_plan(
    session: Session, project: Project, plan: RoundPlan, preview: Preview, pace: Pace | None = None
) -> LaunchEstimate:
    """Estimate what a plan would take."""
    pace = pace or pace_of(session, project, plan)
    return launch_estimate.estimate(plan, _work(plan, preview), pace, plan.k or project.k)


def pace_of(session: Session, project: Project, plan: RoundPlan) -> Pace:
    """Return what is known of the speed of jobs with the project's base model."""
    seconds, jobs, most = _measured(session, project.base_model or STARTER)
    base = base_models.in_use(session, project)
    checked = base.found if base is not None else None
    devices = session.scalars(select(WorkerHeartbeat.device)).all()
    return Pace(
        seconds,
        jobs,
        most,
        _parameters(session, project, plan) or (checked.parameters if checked else None),
        checked.bytes_needed if checked else 0,
        has_gpu=any("cpu" not in device.lower() for device in devices if device),
        prompt_characters=_prompt_characters(session, project.id, len(project.instruction)),
        response_characters=_response_characters(session, project.id),
    )


def _offer(
    session: Session,
    project: Project,
    plan: RoundPlan,
    name: ChoiceName,
    data: ProjectData,
    pace: Pace,
) -> ChoiceOffer:
    preview = readiness.preview(session, project, plan, data)
    pace_ms = project.median_active_ms
    chosen = launch_sizes.applied(name, data).choice
    return ChoiceOffer(
        name,
        TITLES[name],
        SIZES[name].description,
        preview.judgments,
        None if pace_ms is None else preview.judgments * pace_ms / 1000.0,
        of_plan(session, project, plan, preview, pace),
        chosen.reduced if chosen is not None else (),
    )


def _work(plan: RoundPlan, preview: Preview) -> Work:
    """Return the rows of each stage."""
    candidates = (preview.prompts + preview.heldout_prompts) * plan.candidates
    rows = {
        "sft": preview.sft.total * plan.sft.batch_size if preview.sft and plan.sft else 0,
        "generate": candidates,
        "reward": preview.reward.total * plan.reward.batch_size if preview.reward else 0,
        "policy": preview.policy.total * plan.policy.batch_size,
        "evaluate": 2 * preview.evaluation_prompts,
    }
    return Work({kind: count for kind, count in rows.items() if count})


@cached_briefly
def _measured(session: Session, base: str) -> tuple[dict[str, float], int, int | None]:
    """Return the seconds of a row of each stage, the jobs measured, and their most memory.

    Jobs that were interrupted are left out, because the time between attempts is not work.
    """
    query = (
        select(Job, Round.plan)
        .join(Round, Round.id == Job.round_id)
        .join(Project, Project.id == Job.project_id)
        .where(
            Project.base_model == base,
            Job.kind.in_(KINDS),
            Job.state == JobState.SUCCEEDED,
            Job.attempts == 1,
            Job.started_at.is_not(None),
            Job.ended_at.is_not(None),
        )
        .order_by(Job.id.desc())
        .limit(RECENT * len(KINDS))
    )
    took: dict[str, list[tuple[float, float]]] = defaultdict(list)
    most: list[int] = []
    for job, plan in session.execute(query):
        rows = _rows_of(job, RoundPlan.from_json(plan))
        if rows and len(took[job.kind]) < RECENT and job.started_at and job.ended_at:
            took[job.kind].append(((job.ended_at - job.started_at).total_seconds(), rows))
            most += [int(job.result["peak_bytes"])] if "peak_bytes" in job.result else []
    seconds = {
        kind: sum(s for s, _ in jobs) / sum(rows for _, rows in jobs)
        for kind, jobs in took.items()
        if jobs
    }
    return seconds, sum(map(len, took.values())), max(most, default=None)


@cached_briefly
def _prompt_characters(session: Session, project_id: int, instruction: int) -> float | None:
    """Return the mean length of some prompts with the instruction; None if there are none."""
    query = select(Prompt.messages).where(Prompt.project_id == project_id).limit(TEXTS)
    lengths = [
        sum(len(str(turn.get("content", ""))) for turn in turns) for turns in session.scalars(query)
    ]
    return instruction + fmean(lengths) if lengths else None


@cached_briefly
def _response_characters(session: Session, project_id: int) -> float | None:
    """Return the mean length of some demonstrations, or else of responses; None without any."""
    for kind in (Demonstration, Completion):
        query = select(func.length(kind.text)).where(kind.project_id == project_id).limit(TEXTS)
        lengths = list(session.scalars(query))
        if lengths:
            return fmean(lengths)
    return None


def _rows_of(job: Job, plan: RoundPlan) -> float:
    """Return the rows that a job went through, from the progress that it reported at its end."""
    rows = {
        "sft": plan.sft.batch_size if plan.sft is not None else 0,  # of a step
        "reward": plan.reward.batch_size,
        "policy": plan.policy.batch_size,
        "generate": plan.candidates / plan.comparisons_per_prompt,  # of a comparison
        "evaluate": 2,  # of a prompt
    }
    return job.progress_done * rows[job.kind]


def _parameters(session: Session, project: Project, plan: RoundPlan) -> int | None:
    """Return the size of the newest model that was trained here, or of the starter."""
    query = (
        select(Checkpoint.config)
        .where(Checkpoint.project_id == project.id)
        .order_by(Checkpoint.id.desc())
    )
    for config in session.scalars(query):
        if size := (config or {}).get("size"):
            return int(size["parameters"])
    is_starter = project.base_model == STARTER
    return launch_estimate.starter_parameters(plan) if is_starter else None
