"""Gates on judging: enough labelers for the judgments wanted, and an evaluation that can decide."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt

from app.domain.gate_policies import Gate
from app.domain.gates.verdicts import PlanRemedy, Verdict, several, working
from app.domain.plan import RoundPlan
from app.domain.states import RoundState

HALF_WIDTH_MOST = 0.10
"""Half the width of a win rate's interval beyond which an undecided evaluation is too small."""

Z = 1.96  # of a 95 % interval
SPREAD = 0.5  # standard deviation of a vote near a win rate of 50 %
PROMPTS_LEAST = ceil((Z * SPREAD / HALF_WIDTH_MOST) ** 2)
"""Prompts from which an interval is narrow enough if every prompt has one vote."""


@dataclass(frozen=True, slots=True)
class LabelerFigures:
    """The active labelers that the comparison in need of most takes, and those there are."""

    wanted: int
    labelers: int
    is_evaluation: bool = False

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Fire if a comparison wants more judgments than there are labelers."""
        return Verdict(
            Gate.LABELERS,
            self.wanted > self.labelers,
            several(self.labelers, "active labeler"),
            f"at least {self.wanted:,}",
            f"Comparisons need judgments by {self.wanted:,} different people, but the project has "
            f"{several(self.labelers, 'active labeler')}. Add labelers, or ask for fewer "
            "judgments; labeling continues in the meantime.",
            working(plan, self._remedies()),
        )

    def _remedies(self) -> Iterator[PlanRemedy]:
        if self.labelers:
            path = "evaluation.overlap" if self.is_evaluation else "overlap"
            yield PlanRemedy(
                "fewer_judgments",
                f"Ask for {several(self.labelers, 'judgment')} per comparison",
                "Applies to the comparisons that are not finished.",
                {path: self.labelers},
            )


@dataclass(frozen=True, slots=True)
class EvaluationFigures:
    """A win rate with its interval, the prompts behind it, and the test prompts there are."""

    share: float
    low: float | None
    high: float | None
    prompts: int
    available: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval; of a vote per prompt where it has none."""
        if self.low is None or self.high is None:
            return Z * SPREAD / sqrt(max(self.prompts, 1))
        return (self.high - self.low) / 2

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Fire if the interval contains 50 % and is too wide to say more."""
        low, high = self.low, self.high
        is_open = low is None or high is None or low <= 0.5 <= high
        remedies = working(plan, self._remedies(plan))
        interval = "" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
        return Verdict(
            Gate.EVALUATION,
            is_open and self.half_width > HALF_WIDTH_MOST,
            f"{100 * self.share:.0f} %{interval} on {several(self.prompts, 'prompt')}",
            f"an interval without 50 %, or at most ±{100 * HALF_WIDTH_MOST:.0f} points",
            f"On {several(self.prompts, 'prompt')}, the interval is ±{100 * self.half_width:.0f} "
            "points and contains 50 %: which policy people prefer is not decided."
            + (
                "" if remedies else " There are no more test prompts; import some for later rounds."
            ),
            remedies,
            can_wait=bool(remedies),
        )

    def _remedies(self, plan: RoundPlan) -> Iterator[PlanRemedy]:
        wanted = ceil(self.prompts * (self.half_width / HALF_WIDTH_MOST) ** 2)
        count = min(max(wanted, self.prompts + 1), self.available)
        if count <= plan.evaluation.prompts:
            return
        reached = self.half_width * sqrt(self.prompts / count)
        yield PlanRemedy(
            "more_prompts",
            f"Evaluate on {count:,} prompts",
            f"{count - self.prompts:,} more; the interval narrows to about ±{100 * reached:.0f} "
            "points.",
            {"evaluation.prompts": count},
            RoundState.EVALUATING,
        )


def foreseen(prompts: int) -> str:
    """Return what to expect of an evaluation on so many prompts; empty if it is large enough."""
    if prompts >= PROMPTS_LEAST:
        return ""
    reach = Z * SPREAD / sqrt(max(prompts, 1))
    tells = (
        f"tells a win rate from 50 % only if it is about {50 + 100 * reach:.0f} % or more"
        if reach < 0.5
        else "cannot tell any win rate from 50 %"
    )
    return (
        f"an evaluation on {several(prompts, 'prompt')} {tells}; {PROMPTS_LEAST} prompts or more "
        "are better"
    )
