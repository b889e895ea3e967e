"""The charts of a round's training jobs: which metrics are drawn, and what they are compared with.

`curves` computes their geometry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.domain import kl_worth
from app.domain.gates.verdicts import several
from app.models import CheckpointKind, Job
from app.services.jobs import training_curves
from app.services.jobs.training_curves import Points
from app.services.rounds import loop_overview, round_progress
from app.web import reward_charts
from app.web.curves import Chart, ChartBand, ChartLine, ChartMark

JOB_NAMES = {
    "sft": "Supervised fine-tuning (SFT)",
    "generate": "Candidates",
    "reward": "Reward model",
    "policy": "Policy",
    "evaluate": "Responses for the evaluation",
}
NAMES: Mapping[str, Sequence[str]] = {
    "policy": (
        *("reward/normalised", "heldout/reward", "kl/k1", "heldout/kl", "reward/disagreement"),
        *("length/mean", "heldout/length", "entropy", "policy/clip_fraction"),
        *("value/explained_variance", "speed/tokens_per_s"),
        *("fresh/share", "fresh/share_low", "fresh/share_high", "fresh/pooled"),
    ),
    "reward": ("loss", "heldout/loss", "accuracy", "heldout/accuracy", "margin", "heldout/margin"),
    "sft": ("loss", "heldout/loss", "time/tokens_per_s"),
}


@dataclass(frozen=True, slots=True)
class JobCharts:
    """The charts of one training job, and the newest value of every metric."""

    job: Job
    title: str
    charts: tuple[Chart, ...]
    newest: dict[str, float]


def of_job(session: Session, overview: round_progress.RoundOverview, job: Job) -> JobCharts:
    """Return the charts of a training job of a round."""
    more = reward_charts.names(overview.plan.reward) if job.kind == "policy" else ()
    points = training_curves.of_job(session, job.id, [*NAMES[job.kind], *more])
    make = {"policy": _policy, "reward": _reward, "sft": _sft}[job.kind]
    charts = tuple(chart for chart in make(overview, points) if not chart.is_empty)
    return JobCharts(job, JOB_NAMES[job.kind], charts, training_curves.newest(session, job.id))


def _policy(overview: round_progress.RoundOverview, points: Mapping[str, Points]) -> list[Chart]:
    fitted = [one for one in overview.checkpoints if one.kind == CheckpointKind.REWARD]
    budget = kl_worth.budget(overview.plan.policy, fitted[-1].config if fitted else {})
    limit = () if budget is None else (ChartMark(budget**2, f"budget {budget**2:.0f}", True),)
    kept = _kept(overview)
    return [
        Chart(
            "Reward",
            "mean per response; it should also rise on held-out prompts",
            _pair(points, "reward/normalised", "heldout/reward"),
            events=kept,
            metric="reward/normalised",
        ),
        *reward_charts.charts(overview.plan.reward, points),
        Chart(
            "KL to SFT",
            "per response; training stops at the budget",
            _pair(points, "kl/k1", "heldout/kl"),
            unit="nats",
            marks=limit,
            events=kept,
            low=0.0,
            metric="kl/k1",
        ),
        _fresh_votes(points),
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


def _kept(overview: round_progress.RoundOverview) -> tuple[tuple[float, str], ...]:
    """Return the step whose weights the new policy has, to mark it; none while it trains."""
    metrics = [model.metrics for model in overview.checkpoints if model.kind == "policy"]
    steps = [found["best_step"] for found in metrics if found.get("best_step") is not None]
    return tuple((float(step), "kept") for step in steps[-1:])


def _fresh_votes(points: Mapping[str, Points]) -> Chart:
    low, high = (dict(points.get(f"fresh/share_{end}", ())) for end in ("low", "high"))
    votes = points.get("fresh/pooled", ())
    behind = f"last {several(int(votes[-1][1]), 'vote')}" if votes else "last votes"
    return Chart(
        "People's preference",
        f"share of the {behind} for the policy over the reference, with its interval; it should "
        "stay above one half",
        (ChartLine("fresh votes", points.get("fresh/share", ())),),
        marks=(ChartMark(0.5, ""),),  # where the curve begins: a label would be drawn over it
        spread=tuple((step, end, high[step]) for step, end in low.items() if step in high),
        low=0.0,
        high=1.0,
        metric="fresh/share",
    )


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
