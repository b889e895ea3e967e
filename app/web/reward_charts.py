"""Charts of the parts of a combined reward, each drawn by itself."""

from collections.abc import Mapping, Sequence

from app.domain.reward_parts import RULES
from app.domain.reward_plan import RewardPlan
from app.services.jobs.training_curves import Points
from app.web.charts import Chart, ChartLine

SAFETY_SHARE = "share/judged-by-safety"


def names(plan: RewardPlan) -> Sequence[str]:
    """Return the names of the curves that the charts show."""
    shown = [*(f"part/{title}" for title in plan.curves), SAFETY_SHARE]
    return [f"{place}/{name}" for name in shown for place in ("reward", "heldout")]


def charts(plan: RewardPlan, points: Mapping[str, Points]) -> list[Chart]:
    """Return a chart for each part of the reward, and one for how often safety decides."""
    rules = {t for t, part in zip(plan.titles, plan.parts, strict=True) if part.kind in RULES}
    parts = [
        Chart(
            f"Reward: {title}",
            "mean of the rule, before its weight"
            if title in rules
            else "mean score, before its weight; 0 is the initial policy’s mean",
            _lines(points, f"part/{title}"),
            y_name="Mean of the rule" if title in rules else "Mean score",
            metric="reward/part/NAME",
            name=f"reward/part/{title}",
        )
        for title in plan.curves
    ]
    share = Chart(
        "Judged by safety",
        "share of responses whose reward is their safety score; it should fall",
        _lines(points, SAFETY_SHARE),
        low=0.0,
        y_name="Share of responses",
        metric="reward/share/NAME",
    )
    return [*parts, share]


def _lines(points: Mapping[str, Points], name: str) -> tuple[ChartLine, ...]:
    training, heldout = f"reward/{name}", f"heldout/{name}"
    lines = (ChartLine("training", points.get(training, ()), metrics=(training,)),)
    if not points.get(heldout):
        return lines
    second = ChartLine("held-out", points[heldout], is_dashed=True, color=2, metrics=(heldout,))
    return (*lines, second)
