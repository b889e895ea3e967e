"""The page of a round while it runs: stages, charts, samples and the possible actions.

This module decides which charts a job has; `curves` computes their geometry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.db import now
from app.domain.plan import RoundPlan
from app.domain.states import JobState, RoundState
from app.domain.win_rates import EvaluationResults
from app.models import Checkpoint, Job, Project, Round, TrainingSample
from app.services.checkpoints import checkpoints
from app.services.jobs import training_curves
from app.services.jobs.training_curves import Points
from app.services.rounds import evaluations, loop_overview, next_step, round_progress, rounds
from app.web import next_step_words, reward_charts
from app.web.curves import Chart, ChartBand, ChartLine, ChartMark
from app.web.next_step_words import NextStepWords

STAGES = (
    (RoundState.SFT, "SFT"),
    (RoundState.GENERATING, "Candidates"),
    (RoundState.LABELING, "Judgments"),
    (RoundState.REWARD, "Reward model"),
    (RoundState.POLICY, "Policy"),
    (RoundState.EVALUATING, "Evaluation"),
    (RoundState.DECIDING, "Decision"),
)
JOB_NAMES = {
    "sft": "Supervised fine-tuning (SFT)",
    "generate": "Candidates",
    "reward": "Reward model",
    "policy": "Policy",
    "evaluate": "Responses for the evaluation",
}
OVER = frozenset({RoundState.PROMOTED, RoundState.HELD, RoundState.CANCELLED})
_CHARTED = ("policy", "reward", "sft")
NAMES: Mapping[str, Sequence[str]] = {
    "policy": (
        *("reward/normalised", "heldout/reward", "kl/k1", "heldout/kl", "reward/disagreement"),
        *("length/mean", "heldout/length", "entropy", "policy/clip_fraction"),
        *("value/explained_variance", "speed/tokens_per_s"),
    ),
    "reward": ("loss", "heldout/loss", "accuracy", "heldout/accuracy", "margin", "heldout/margin"),
    "sft": ("loss", "heldout/loss", "time/tokens_per_s"),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a round; its state is done, now, failed or later."""

    label: str
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class JobCharts:
    """The charts of one training job, and the newest value of every metric."""

    job: Job
    title: str
    charts: tuple[Chart, ...]
    newest: dict[str, float]


@dataclass(frozen=True, slots=True)
class RoundPage:
    """A round with its progress, charts, samples and results."""

    project: Project
    round: Round
    overview: round_progress.RoundOverview
    stages: tuple[Stage, ...]
    job: Job | None  # queued or running
    seconds_left: float | None
    charted: tuple[JobCharts, ...]
    samples: list[tuple[TrainingSample, TrainingSample]]
    samples_step: int
    results: EvaluationResults | None
    models: dict[str, Checkpoint]
    next: NextStepWords
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
        for job in self.overview.jobs:
            report = job.result.get("preflight") if job.kind == "generate" else None
            if isinstance(report, Mapping):
                return report
        return {}


def round_page(session: Session, project: Project, round_: Round) -> RoundPage:
    """Return what the page of a round shows."""
    overview = round_progress.overview(session, round_)
    job = next_step.running(overview)
    training = {job.kind: job for job in overview.jobs if job.kind in _CHARTED}
    charted = tuple(
        _charts(session, overview, training[kind])
        for kind in _CHARTED
        if kind in training and training[kind].started_at is not None
    )
    sampled = next((charts.job for charts in charted if charts.job.kind == "policy"), None)
    samples = training_curves.before_and_now(session, sampled.id) if sampled else []
    return RoundPage(
        project,
        round_,
        overview,
        _stages(overview),
        job,
        _seconds_left(session, job),
        charted,
        samples,
        samples[0][1].step if samples else 0,
        evaluations.results(session, overview.evaluation) if overview.evaluation else None,
        _models(session, project, round_),
        next_step_words.words(project, next_step.what_next(session, project, overview)),
    )


def _stages(overview: round_progress.RoundOverview) -> tuple[Stage, ...]:
    state = RoundState(overview.round.state)
    done = {job.kind for job in overview.jobs if job.state == JobState.SUCCEEDED}
    failed = next((job.kind for job in reversed(overview.jobs) if job.error), "")
    shown = [(stage, label) for stage, label in STAGES if _has_stage(overview, stage)]
    order = [stage for stage, _ in shown]
    at = order.index(state) if state in order else -1
    stages = []
    for place, (stage, label) in enumerate(shown):
        kind = rounds.STAGE_JOBS.get(stage, "")
        if state is stage:
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


def _charts(session: Session, overview: round_progress.RoundOverview, job: Job) -> JobCharts:
    more = reward_charts.names(overview.plan.reward) if job.kind == "policy" else ()
    points = training_curves.of_job(session, job.id, [*NAMES[job.kind], *more])
    make = {"policy": _policy, "reward": _reward, "sft": _sft}[job.kind]
    charts = tuple(chart for chart in make(overview, points) if not chart.is_empty)
    return JobCharts(job, JOB_NAMES[job.kind], charts, training_curves.newest(session, job.id))


def _policy(overview: round_progress.RoundOverview, points: Mapping[str, Points]) -> list[Chart]:
    budget = overview.plan.policy.kl_budget
    limit = () if budget is None else (ChartMark(budget**2, f"budget {budget**2:.0f}", True),)
    return [
        Chart(
            "Reward",
            "mean per response; it should also rise on held-out prompts",
            _pair(points, "reward/normalised", "heldout/reward"),
            metric="reward/normalised",
        ),
        *reward_charts.charts(overview.plan.reward, points),
        Chart(
            "KL to SFT",
            "per response; training stops at the budget",
            _pair(points, "kl/k1", "heldout/kl"),
            unit="nats",
            marks=limit,
            low=0.0,
            metric="kl/k1",
        ),
        Chart(
            "Reward model disagreement",
            "standard deviation over the ensemble; a fast rise is a sign of over-optimization",
            (ChartLine("ensemble", points.get("reward/disagreement", ())),),
            metric="reward/disagreement",
        ),
        Chart(
            "Response length",
            "mean per response",
            _pair(points, "length/mean", "heldout/length"),
            digits=1,
            unit="tokens",
            metric="length/mean",
        ),
        Chart(
            "Entropy",
            "near zero, the policy always gives the same response",
            (ChartLine("per token", points.get("entropy", ())),),
            unit="nats",
            metric="entropy",
        ),
        Chart(
            "Clip fraction",
            "share of tokens whose update is clipped; usually 0.05 to 0.3",
            (ChartLine("share", points.get("policy/clip_fraction", ())),),
            low=0.0,
            metric="policy/clip_fraction",
        ),
        Chart(
            "Explained variance",
            "share of the variance of returns that the value head predicts",
            (ChartLine("share", points.get("value/explained_variance", ())),),
            metric="value/explained_variance",
        ),
    ]


def _reward(overview: round_progress.RoundOverview, points: Mapping[str, Points]) -> list[Chart]:
    models = (model for model in overview.checkpoints if model.kind == "reward")
    lines = loop_overview.reward_lines(next(models, None))
    marks: tuple[ChartMark, ...] = ()
    bands: tuple[ChartBand, ...] = ()
    if lines and lines.human is not None:
        marks = (ChartMark(lines.human, "human level"),)
    if lines and lines.ceiling_low is not None and lines.ceiling_high is not None:
        bands = (ChartBand(lines.ceiling_low, lines.ceiling_high, "noise ceiling"),)
    return [
        Chart(
            "Loss",
            "on held-out comparisons, it stops falling when there is nothing more to learn",
            _pair(points, "loss", "heldout/loss"),
            digits=3,
            metric="loss",
        ),
        Chart(
            "Accuracy",
            "against the majority vote of each pair; the shaded band is the noise ceiling",
            _pair(points, "accuracy", "heldout/accuracy"),
            marks=marks,
            bands=bands,
            metric="accuracy",
        ),
        Chart(
            "Margin",
            "mean difference between the scores of a pair",
            _pair(points, "margin", "heldout/margin"),
            metric="margin",
        ),
    ]


def _sft(_overview: round_progress.RoundOverview, points: Mapping[str, Points]) -> list[Chart]:
    return [
        Chart(
            "Loss",
            "on the response tokens of the demonstrations",
            _pair(points, "loss", "heldout/loss"),
            digits=3,
            metric="loss",
        ),
        Chart(
            "Speed",
            "training throughput",
            (ChartLine("tokens per second", points.get("time/tokens_per_s", ())),),
            digits=0,
            low=0.0,
            metric="time/tokens_per_s",
        ),
    ]


def _pair(points: Mapping[str, Points], name: str, heldout: str) -> tuple[ChartLine, ...]:
    lines = [ChartLine("training", points.get(name, ()))]
    if points.get(heldout):
        lines.append(ChartLine("held-out", points[heldout], is_second=True))
    return tuple(lines)
