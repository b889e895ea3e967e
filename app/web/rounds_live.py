"""The page of a round while it runs: stages, charts, samples and the possible actions.

`training_charts` decides which charts a job has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.db import now
from app.domain import recommendations
from app.domain.page_verdicts.round import OVER
from app.domain.plan import RoundPlan
from app.domain.recommendations import Recommendation
from app.domain.states import JobState, RoundState
from app.domain.win_rates import EvaluationResults
from app.models import Checkpoint, Job, Project, Round, TrainingSample
from app.services.checkpoints import checkpoints
from app.services.jobs import training_curves
from app.services.jobs.training_runs import TrainingRun
from app.services.rounds import (
    evaluations,
    gate_views,
    next_step,
    page_verdicts,
    round_progress,
    stage_jobs,
)
from app.services.rounds.gate_views import GateView
from app.web import next_step_words, run_charts, training_charts, verdict_words
from app.web.next_step_parts import NextStepWords
from app.web.verdict_words import VerdictWords

STAGES = (
    (RoundState.SFT, "SFT"),
    (RoundState.GENERATING, "Candidates"),
    (RoundState.LABELING, "Judgments"),
    (RoundState.REWARD, "Reward model"),
    (RoundState.POLICY, "Policy"),
    (RoundState.EVALUATING, "Evaluation"),
    (RoundState.DECIDING, "Decision"),
)
_CHARTED = ("policy", "reward", "sft")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a round; its state is done, now, waiting (at a check), failed or later."""

    label: str
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class RoundPage:
    """A round with its progress, charts, samples and results."""

    project: Project
    round: Round
    overview: round_progress.RoundOverview
    stages: tuple[Stage, ...]
    job: Job | None  # queued or running
    seconds_left: float | None
    charted: tuple[training_charts.JobCharts, ...]
    samples: list[tuple[TrainingSample, TrainingSample]]
    samples_step: int
    results: EvaluationResults | None
    models: dict[str, Checkpoint]
    verdict: VerdictWords
    next: NextStepWords
    gates: tuple[GateView, ...]
    error: str = ""

    @property
    def plan(self) -> RoundPlan:
        """The plan that the round was launched with."""
        return self.overview.plan

    @property
    def is_over(self) -> bool:
        """Whether the round has been decided or cancelled."""
        return self.round.state in OVER

    @property
    def recommended(self) -> Recommendation | None:
        """What the evaluation recommends; None where nothing was evaluated."""
        return recommendations.recommend(self.results)

    @property
    def waiting(self) -> tuple[GateView, ...]:
        """The checks that the round waits at."""
        return tuple(view for view in self.gates if view.is_waiting)

    @property
    def can_stop(self) -> bool:
        """Whether a training job is running that can stop early and keep its best model."""
        return (
            self.job is not None
            and self.job.state == JobState.RUNNING
            and self.job.kind in _CHARTED
            and not self.job.stop_requested
        )

    @property
    def remarks(self) -> list[str]:
        """What the jobs' results say about settings that could not be applied."""
        return [remark for job in self.overview.jobs for remark in job.result.get("remarks", ())]

    @property
    def preflight(self) -> Mapping[str, Any]:
        """The pre-flight report on the candidates; empty without one."""
        for job in reversed(self.overview.jobs):
            report = job.result.get("preflight") if job.kind == "generate" else None
            if isinstance(report, Mapping):
                return report
        return {}

    @property
    def chosen(self) -> int | None:
        """How many comparisons a rule chose; None if none was to."""
        for job in reversed(self.overview.jobs):
            if job.kind == "generate" and "chosen" in job.result:
                return int(job.result["chosen"])
        return None


def round_page(session: Session, project: Project, round_: Round) -> RoundPage:
    """Return what the page of a round shows."""
    overview = round_progress.overview(session, round_)
    job = next_step.running(overview)
    views = gate_views.of_round(session, round_)
    training = {job.kind: job for job in overview.jobs if job.kind in _CHARTED}
    charted = tuple(
        run_charts.of_run(session, project, _run(training[kind], round_), overview=overview)
        for kind in _CHARTED
        if kind in training and training[kind].started_at is not None
    )
    sampled = next((charts.job for charts in charted if charts.job.kind == "policy"), None)
    samples = training_curves.before_and_now(session, sampled.id) if sampled else []
    step = next_step.what_next(session, project, overview)
    words = next_step_words.words(project, step)
    verdict = page_verdicts.of_round(session, project, overview, step)
    return RoundPage(
        project,
        round_,
        overview,
        _stages(overview, views),
        job,
        _seconds_left(session, job),
        charted,
        samples,
        samples[0][1].step if samples else 0,
        evaluations.results(session, overview.evaluation) if overview.evaluation else None,
        _models(session, project, round_),
        verdict_words.words(verdict, project.slug, words),
        words,
        views,
    )


def _run(job: Job, round_: Round) -> TrainingRun:
    return TrainingRun(job, round_, f"Round {round_.number}")


def _stages(overview: round_progress.RoundOverview, gates: Sequence[GateView]) -> tuple[Stage, ...]:
    state = RoundState(overview.round.state)
    is_gated = state is RoundState.GATED
    if is_gated:
        state = RoundState(next(view.row.stage for view in gates if view.is_waiting))
    done = {job.kind for job in overview.jobs if job.state == JobState.SUCCEEDED}
    failed = next((job.kind for job in reversed(overview.jobs) if job.error), "")
    shown = [(stage, label) for stage, label in STAGES if _has_stage(overview, stage)]
    order = [stage for stage, _ in shown]
    at = order.index(state) if state in order else -1
    stages = []
    for place, (stage, label) in enumerate(shown):
        kind = stage_jobs.KINDS.get(stage, "")
        if state is stage and is_gated:
            stages.append(Stage(label, "waiting", _note(overview, stage)))
        elif state is stage:
            stages.append(Stage(label, "now", _note(overview, stage)))
        elif at > place or (at < 0 and _was_done(overview, stage, kind, done)):
            stages.append(Stage(label, "done"))
        elif state is RoundState.FAILED and kind and kind == failed:
            stages.append(Stage(label, "failed"))
        else:
            stages.append(Stage(label, "later"))
    return tuple(stages)


def _has_stage(overview: round_progress.RoundOverview, stage: RoundState) -> bool:
    if stage is RoundState.SFT:
        return _has_sft(overview)
    if stage in (RoundState.GENERATING, RoundState.LABELING, RoundState.REWARD):
        was_there = any(job.kind in ("generate", "reward") for job in overview.jobs)
        return overview.plan.fits_reward or was_there
    return True


def _has_sft(overview: round_progress.RoundOverview) -> bool:
    is_there = any(job.kind == "sft" for job in overview.jobs)
    return is_there or overview.round.state == RoundState.SFT


def _was_done(
    overview: round_progress.RoundOverview, stage: RoundState, kind: str, done: set[str]
) -> bool:
    """Return whether a stage was finished in a round that is over or has failed."""
    if stage is RoundState.LABELING:
        return "reward" in {job.kind for job in overview.jobs}
    if stage is RoundState.DECIDING:
        return overview.round.state in (RoundState.PROMOTED, RoundState.HELD)
    return kind in done


def _note(overview: round_progress.RoundOverview, stage: RoundState) -> str:
    if stage is RoundState.LABELING:
        return f"{overview.labeling.done:,} / {overview.labeling.wanted:,}"
    if stage is RoundState.EVALUATING and overview.evaluation_labeling.wanted:
        labeling = overview.evaluation_labeling
        return f"{labeling.done:,} / {labeling.wanted:,}"
    job = overview.jobs[-1] if overview.jobs else None
    if job is not None and job.state == JobState.RUNNING and job.progress_total:
        return f"{job.progress_done:,} / {job.progress_total:,}"
    return ""


def _seconds_left(session: Session, job: Job | None) -> float | None:
    if job is None or job.started_at is None or job.state != JobState.RUNNING:
        return None
    if not job.progress_done or not job.progress_total:
        return None
    spent = (now(session) - job.started_at).total_seconds()
    return spent * (job.progress_total - job.progress_done) / job.progress_done


def _models(session: Session, project: Project, round_: Round) -> dict[str, Checkpoint]:
    ids = {
        "before": round_.policy_before_id,
        "reward": round_.reward_checkpoint_id,
        "policy": round_.policy_checkpoint_id,
    }
    return {
        name: checkpoints.get(session, project.id, checkpoint_id)
        for name, checkpoint_id in ids.items()
        if checkpoint_id is not None
    }
