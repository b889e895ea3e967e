"""What the page of a round shows while it runs: stages, curves, samples and what may be done.

Which curves are drawn for which job is decided here; their geometry is in `curves`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.db import now
from app.domain.plan import RoundPlan
from app.domain.states import JobState, RoundState
from app.models import Checkpoint, Job, Project, Round, TrainingSample
from app.services.checkpoints import checkpoints
from app.services.jobs import training_curves
from app.services.jobs.training_curves import Points
from app.services.rounds import evaluations, loop_overview, next_step, round_progress, rounds
from app.services.rounds.evaluations import EvaluationResults
from app.web.curves import Band, Curve, Line, Mark

STAGES = (
    (RoundState.SFT, "Demonstrations"),
    (RoundState.GENERATING, "Candidates"),
    (RoundState.LABELING, "Judgments"),
    (RoundState.REWARD, "Reward model"),
    (RoundState.POLICY, "Policy"),
    (RoundState.EVALUATING, "Evaluation"),
    (RoundState.DECIDING, "Decision"),
)
JOB_NAMES = {
    "sft": "Learning from demonstrations",
    "generate": "Writing candidates",
    "reward": "Reward model",
    "policy": "Policy",
    "evaluate": "Answering for the evaluation",
}
OVER = frozenset({RoundState.PROMOTED, RoundState.HELD, RoundState.CANCELLED})
_DRAWN = ("policy", "reward", "sft")
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
    """A stage of a round: done, now, failed or still to come."""

    label: str
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The curves of one job."""

    job: Job
    title: str
    curves: tuple[Curve, ...]
    newest: dict[str, float]


@dataclass(frozen=True, slots=True)
class LivePage:
    """A round as its page shows it."""

    project: Project
    round: Round
    overview: round_progress.RoundOverview
    stages: tuple[Stage, ...]
    job: Job | None  # waiting or running
    seconds_left: float | None
    drawn: tuple[Drawn, ...]
    samples: list[tuple[TrainingSample, TrainingSample]]
    samples_step: int
    results: EvaluationResults | None
    models: dict[str, Checkpoint]
    next: next_step.Next
    error: str = ""

    @property
    def plan(self) -> RoundPlan:
        """What the round set out to do."""
        return self.overview.plan

    @property
    def is_over(self) -> bool:
        """True once it is decided or cancelled."""
        return self.round.state in OVER

    @property
    def can_stop(self) -> bool:
        """True while a job trains that can end early with the best it has."""
        return (
            self.job is not None
            and self.job.state == JobState.RUNNING
            and self.job.kind in _DRAWN
            and not self.job.stop_requested
        )

    @property
    def preflight(self) -> Mapping[str, Any]:
        """What the pre-flight found among the candidates."""
        for job in self.overview.jobs:
            found = job.result.get("preflight") if job.kind == "generate" else None
            if isinstance(found, Mapping):
                return found
        return {}


def live_page(session: Session, project: Project, found: Round) -> LivePage:
    """Return what the page of a round shows."""
    overview = round_progress.overview(session, found)
    live = [job for job in overview.jobs if job.state in (JobState.QUEUED, JobState.RUNNING)]
    job = live[-1] if live else None
    trained = {one.kind: one for one in overview.jobs if one.kind in _DRAWN}
    drawn = tuple(
        _drawn(session, overview, trained[kind])
        for kind in _DRAWN
        if kind in trained and trained[kind].started_at is not None
    )
    sampled = next((one.job for one in drawn if one.job.kind == "policy"), None)
    samples = training_curves.before_and_now(session, sampled.id) if sampled else []
    return LivePage(
        project,
        found,
        overview,
        _stages(overview),
        job,
        _seconds_left(session, job),
        drawn,
        samples,
        samples[0][1].step if samples else 0,
        evaluations.results(session, overview.evaluation) if overview.evaluation else None,
        _models(session, project, found),
        next_step.what_next(session, project, overview),
    )


def _stages(overview: round_progress.RoundOverview) -> tuple[Stage, ...]:
    state = RoundState(overview.round.state)
    done = {job.kind for job in overview.jobs if job.state == JobState.SUCCEEDED}
    failed = next((job.kind for job in reversed(overview.jobs) if job.error), "")
    shown = [one for one in STAGES if one[0] is not RoundState.SFT or _has_sft(overview)]
    order = [stage for stage, _ in shown]
    at = order.index(state) if state in order else -1
    found = []
    for place, (stage, label) in enumerate(shown):
        kind = rounds.STAGE_JOBS.get(stage, "")
        if state is stage:
            found.append(Stage(label, "now", _note(overview, stage)))
        elif at > place or (at < 0 and _was_done(overview, stage, kind, done)):
            found.append(Stage(label, "done"))
        elif state is RoundState.FAILED and kind and kind == failed:
            found.append(Stage(label, "failed"))
        else:
            found.append(Stage(label, "later"))
    return tuple(found)


def _has_sft(overview: round_progress.RoundOverview) -> bool:
    is_there = any(job.kind == "sft" for job in overview.jobs)
    return is_there or overview.round.state == RoundState.SFT


def _was_done(
    overview: round_progress.RoundOverview, stage: RoundState, kind: str, done: set[str]
) -> bool:
    """Whether a stage was finished in a round that is over or has failed."""
    if stage is RoundState.LABELING:
        return "reward" in {job.kind for job in overview.jobs}
    if stage is RoundState.DECIDING:
        return overview.round.state in (RoundState.PROMOTED, RoundState.HELD)
    return kind in done


def _note(overview: round_progress.RoundOverview, stage: RoundState) -> str:
    if stage is RoundState.LABELING:
        return f"{overview.labeling.done:,} / {overview.labeling.wanted:,}"
    if stage is RoundState.EVALUATING and overview.evaluation_labeling.wanted:
        found = overview.evaluation_labeling
        return f"{found.done:,} / {found.wanted:,}"
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


def _models(session: Session, project: Project, found: Round) -> dict[str, Checkpoint]:
    ids = {
        "before": found.policy_before_id,
        "reward": found.reward_checkpoint_id,
        "policy": found.policy_checkpoint_id,
    }
    return {
        name: checkpoints.get(session, project.id, checkpoint_id)
        for name, checkpoint_id in ids.items()
        if checkpoint_id is not None
    }


def _drawn(session: Session, overview: round_progress.RoundOverview, job: Job) -> Drawn:
    points = training_curves.of_job(session, job.id, NAMES[job.kind])
    make = {"policy": _policy, "reward": _reward, "sft": _sft}[job.kind]
    curves = tuple(one for one in make(overview, points) if not one.is_empty)
    return Drawn(job, JOB_NAMES[job.kind], curves, training_curves.newest(session, job.id))


def _policy(overview: round_progress.RoundOverview, points: Mapping[str, Points]) -> list[Curve]:
    budget = overview.plan.policy.kl_budget
    limit = () if budget is None else (Mark(budget**2, f"budget {budget**2:.0f}", True),)
    return [
        Curve(
            "Reward",
            "of the answers; rising on held-out prompts too is what counts",
            _pair(points, "reward/normalised", "heldout/reward"),
            metric="reward/normalised",
        ),
        Curve(
            "KL to SFT",
            "for each answer; the run ends at the budget",
            _pair(points, "kl/k1", "heldout/kl"),
            unit="nats",
            marks=limit,
            low=0.0,
            metric="kl/k1",
        ),
        Curve(
            "Reward models disagree",
            "rising fast means the reward is being gamed",
            (Line("spread", points.get("reward/disagreement", ())),),
            metric="reward/disagreement",
        ),
        Curve(
            "Length",
            "of the answers",
            _pair(points, "length/mean", "heldout/length"),
            digits=1,
            unit="tokens",
            metric="length/mean",
        ),
        Curve(
            "Entropy",
            "falling to nothing means it always says the same",
            (Line("for each token", points.get("entropy", ())),),
            unit="nats",
            metric="entropy",
        ),
        Curve(
            "Clipped",
            "share of tokens held back by the clip; 0.05 to 0.3 is usual",
            (Line("share", points.get("policy/clip_fraction", ())),),
            low=0.0,
            metric="policy/clip_fraction",
        ),
        Curve(
            "Value explained",
            "share of the returns' variance that the value head foresees",
            (Line("share", points.get("value/explained_variance", ())),),
            metric="value/explained_variance",
        ),
    ]


def _reward(overview: round_progress.RoundOverview, points: Mapping[str, Points]) -> list[Curve]:
    made = next((one for one in overview.checkpoints if one.kind == "reward"), None)
    lines = loop_overview.reward_lines(made)
    marks: tuple[Mark, ...] = ()
    bands: tuple[Band, ...] = ()
    if lines and lines.human is not None:
        marks = (Mark(lines.human, "one labeler predicts another"),)
    if lines and lines.ceiling_low is not None and lines.ceiling_high is not None:
        bands = (Band(lines.ceiling_low, lines.ceiling_high, "noise ceiling"),)
    return [
        Curve(
            "Loss",
            "on held-out comparisons it stops falling when there is no more to learn",
            _pair(points, "loss", "heldout/loss"),
            digits=3,
            metric="loss",
        ),
        Curve(
            "Accuracy",
            "against the majority of each pair; the shaded band is the noise ceiling",
            _pair(points, "accuracy", "heldout/accuracy"),
            marks=marks,
            bands=bands,
            metric="accuracy",
        ),
        Curve(
            "Margin",
            "between the two scores",
            _pair(points, "margin", "heldout/margin"),
            metric="margin",
        ),
    ]


def _sft(_overview: round_progress.RoundOverview, points: Mapping[str, Points]) -> list[Curve]:
    return [
        Curve(
            "Loss",
            "on the tokens of the demonstrated answers",
            _pair(points, "loss", "heldout/loss"),
            digits=3,
            metric="loss",
        ),
        Curve(
            "Speed",
            "while training",
            (Line("tokens a second", points.get("time/tokens_per_s", ())),),
            digits=0,
            low=0.0,
            metric="time/tokens_per_s",
        ),
    ]


def _pair(points: Mapping[str, Points], name: str, heldout: str) -> tuple[Line, ...]:
    lines = [Line("training", points.get(name, ()))]
    if points.get(heldout):
        lines.append(Line("held-out", points[heldout], is_second=True))
    return tuple(lines)
