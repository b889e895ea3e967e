"""The charts of a round's training jobs: which metrics are drawn, and what they are compared with.

`run_charts` adds other runs and addresses.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from app.domain import kl_worth
from app.domain.gates.verdicts import several
from app.models import Checkpoint, CheckpointKind, Job
from app.services.jobs import training_curves
from app.services.jobs.training_curves import Points
from app.services.rounds import loop_overview, round_progress
from app.web import reward_charts
from app.web.charts import Chart, ChartBand, ChartEvent, ChartLine, ChartMark

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


ALARMS: Mapping[str, str] = {
    "KL budget": "kl/k1",
    "held-out peak": "reward/normalised",
    "disagreement": "reward/disagreement",
    "length drift": "length/mean",
    "entropy collapse": "entropy",
    "fresh votes": "fresh/share",
}
"""The metric that an alarm is about, by how its reason begins; others are marked on the reward."""


@dataclass(frozen=True, slots=True)
class JobCharts:
    """The charts of one training job, and the newest value of every metric."""

    job: Job
    title: str
    charts: tuple[Chart, ...]
    newest: dict[str, float]


def of_job(
    session: Session,
    overview: round_progress.RoundOverview,
    job: Job,
    *,
    whole: Collection[str] | None = None,
) -> JobCharts:
    """Return the charts of a training job of a round.

    Long curves are thinned out, unless `whole` names the only metrics to read, which are then read
    at every step.
    """
    more = reward_charts.names(overview.plan.reward) if job.kind == "policy" else ()
    names = [*NAMES[job.kind], *more]
    if whole is None:
        every = training_curves.interval(session, job.id, names)
        points = training_curves.of_job(session, job.id, names)
    else:
        every, points = 1, training_curves.whole(session, job.id, sorted(whole))
    make = {"policy": _policy, "reward": _reward, "sft": _sft}[job.kind]
    own = tuple(
        model
        for model in overview.checkpoints
        if model.kind != job.kind or model.job_id in (None, job.id)
    )
    charts = make(replace(overview, checkpoints=own), points)
    drawn = tuple(replace(chart, every=every) for chart in charts if not chart.is_empty)
    newest = training_curves.newest(session, job.id) if whole is None else {}
    return JobCharts(job, JOB_NAMES[job.kind], _with_alarm(drawn, own), newest)


def _with_alarm(charts: tuple[Chart, ...], checkpoints: Sequence[Checkpoint]) -> tuple[Chart, ...]:
    """Mark the step at which an alarm ended the run, on the chart that the alarm is about."""
    ended = [one.metrics for one in checkpoints if one.metrics.get("stopped_by_alarm")]
    if not ended or not charts:
        return charts
    reason, step = str(ended[-1]["stop_reason"]), float(ended[-1]["steps"])
    metric = next((name for start, name in ALARMS.items() if reason.startswith(start)), "")
    about = next((chart.key for chart in charts if chart.metric == metric), charts[0].key)
    alarm = ChartEvent(step, "alarm", reason, is_alarm=True)
    return tuple(
        replace(chart, events=(*chart.events, alarm)) if chart.key == about else chart
        for chart in charts
    )


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
            y_name="Mean normalized reward",
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
            y_name="KL per response",
            metric="kl/k1",
        ),
        _fresh_votes(points),
        *_signs(points),
    ]


def _signs(points: Mapping[str, Points]) -> list[Chart]:
    """Return what shows over-optimization, or a learning rate that does not fit."""
    return [
        Chart(
            "Reward model disagreement",
            "standard deviation over the ensemble; a fast rise is a sign of over-optimization",
            _one(points, "ensemble", "reward/disagreement"),
            y_name="Standard deviation",
            metric="reward/disagreement",
        ),
        Chart(
            "Response length",
            "mean per response",
            _pair(points, "length/mean", "heldout/length"),
            digits=1,
            unit="tokens",
            y_name="Length",
            metric="length/mean",
        ),
        Chart(
            "Entropy",
            "near zero, the policy always gives the same response",
            _one(points, "per token", "entropy"),
            unit="nats",
            y_name="Entropy per token",
            metric="entropy",
        ),
        Chart(
            "Clip fraction",
            "share of tokens whose update is clipped; usually 0.05 to 0.3",
            _one(points, "share", "policy/clip_fraction"),
            low=0.0,
            y_name="Share of tokens",
            metric="policy/clip_fraction",
        ),
        Chart(
            "Explained variance",
            "share of the variance of returns that the value head predicts",
            _one(points, "share", "value/explained_variance"),
            y_name="Share of variance",
            metric="value/explained_variance",
        ),
    ]


def _kept(overview: round_progress.RoundOverview) -> tuple[ChartEvent, ...]:
    """Return the step whose weights the new policy has, to mark it; none while it trains."""
    metrics = [model.metrics for model in overview.checkpoints if model.kind == "policy"]
    steps = [found["best_step"] for found in metrics if found.get("best_step") is not None]
    why = "the new policy has the weights of this step, the best on held-out prompts"
    return tuple(ChartEvent(float(step), "kept", why) for step in steps[-1:])


def _fresh_votes(points: Mapping[str, Points]) -> Chart:
    names = ("fresh/share", "fresh/share_low", "fresh/share_high", "fresh/pooled")
    shares = points.get("fresh/share", ())
    low, high = (dict(points.get(name, ())) for name in names[1:3])
    ends = tuple((low[x], high[x]) if x in low and x in high else None for x, _ in shares)
    votes = points.get("fresh/pooled", ())
    behind = f"last {several(int(votes[-1][1]), 'vote')}" if votes else "last votes"
    return Chart(
        "People’s preference",
        f"share of the {behind} for the policy over the reference, with its interval; it should "
        "stay above one half",
        (ChartLine("fresh votes", shares, ends=ends, metrics=names),),
        marks=(ChartMark(0.5, "even"),),
        low=0.0,
        high=1.0,
        y_name="Share of votes",
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
            y_name="Share of pairs",
            metric="accuracy",
        ),
        Chart(
            "Margin",
            "mean difference between the scores of a pair",
            _pair(points, "margin", "heldout/margin"),
            y_name="Difference of scores",
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
            _one(points, "training", "time/tokens_per_s"),
            digits=0,
            low=0.0,
            y_name="Throughput",
            unit="tokens/s",
            metric="time/tokens_per_s",
        ),
    ]


def _one(points: Mapping[str, Points], title: str, name: str) -> tuple[ChartLine, ...]:
    return (ChartLine(title, points.get(name, ()), metrics=(name,)),)


def _pair(points: Mapping[str, Points], name: str, heldout: str) -> tuple[ChartLine, ...]:
    """Return the line of a metric, and the dashed one of the same on held-out data, if any."""
    lines = _one(points, "training", name)
    if not points.get(heldout):
        return lines
    second = ChartLine("held-out", points[heldout], is_dashed=True, color=2, metrics=(heldout,))
    return (*lines, second)
