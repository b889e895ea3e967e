"""The report of the demo: a table for people, and the same figures as JSON."""

from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.demo import truth
from app.demo.truth import PolicyCompletions, PolicyTruth, RewardTruth
from app.domain.measures import Measure


@dataclass(frozen=True, slots=True)
class DemoReport:
    """All figures of a demo run.

    `policy` and `reward` are measured against the panel's taste, and `default` against the default
    taste, which is the same one unless another was requested.
    """

    taste: str
    seed: int
    promoted: bool
    agreement: dict[str, Any]
    people: dict[str, Any]
    ceiling: float
    reward: RewardTruth
    policy_metrics: dict[str, Any]
    policy: PolicyTruth
    default: PolicyTruth
    evaluation: dict[str, Any]
    labeling: dict[str, Any]
    sizes: dict[str, int]
    seconds: dict[str, float]
    examples: tuple[PolicyCompletions, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "taste": self.taste,
            "seed": self.seed,
            "promoted": self.promoted,
            "agreement": {
                "raw": self.agreement["raw"]["value"],
                "raw_ci": _pair(self.agreement["raw"]),
                "alpha": self.agreement["alpha"]["value"],
                "alpha_ci": _pair(self.agreement["alpha"]),
            },
            "human_level": self.people["human_level"]["value"],
            "noise_ceiling": self.ceiling,
            "noise_ceiling_band": [
                self.people["ceiling"].get("ceiling_low"),
                self.people["ceiling"].get("ceiling_high"),
            ],
            "reward_model": {
                "accuracy_votes": self.people["accuracy_on_votes"]["value"],
                "accuracy_truth": truth.value(self.reward.accuracy),
                "accuracy_truth_ci": truth.bounds(self.reward.accuracy),
                "length_only": truth.value(self.reward.length_only),
                "minus_length_only": truth.value(self.reward.minus_length_only),
                "minus_length_only_ci": truth.bounds(self.reward.minus_length_only),
            },
            "policy": {
                "kl_nats": self._kl_nats,
                "steps": self.policy_metrics["steps"],
                "best_step": self.policy_metrics["best_step"],
                "stop_reason": self.policy_metrics["stop_reason"],
            },
            "utility": _utility(self.policy),
            "utility_default": _utility(self.default),
            "win_rate": {
                "labelers": self.evaluation["share"],
                "labelers_ci": [self.evaluation["low"], self.evaluation["high"]],
                "truth": truth.value(self.policy.win_rate),
                "truth_ci": truth.bounds(self.policy.win_rate),
            },
            "n": {
                **self.sizes,
                "comparisons": self.labeling["comparisons"],
                "judgments": self.labeling["done"],
                "reward_model_comparisons": self.reward.comparisons,
                "reward_model_pairs": self.reward.pairs,
                "evaluation_prompts": self.policy.prompts,
                "evaluation_judgments": self.evaluation["judged"],
                "agreement_comparisons": self.agreement["raw"]["n"],
            },
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }

    @property
    def _kl_nats(self) -> float | None:
        for name in ("heldout/kl", "kl/k1", "kl"):
            if name in self.policy_metrics:
                return float(self.policy_metrics[name])
        return None

    def timing(self) -> str:
        """Return the time of each stage in one line."""
        total = sum(self.seconds.values())
        parts = " · ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())
        return f"Total time {total / 60:.1f} min: {parts}"

    def table(self) -> Table:
        """Return the figures as a table for the terminal."""
        title = f"Results of one round · taste “{self.taste}” · seed {self.seed}"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("")
        table.add_column("", justify="right")
        table.add_column("95 % interval", justify="right")
        table.add_column("")
        for row in self._rows():
            table.add_row(*row)
        return table

    def _rows(self) -> list[tuple[str, str, str, str]]:
        raw, alpha = self.agreement["raw"], self.agreement["alpha"]
        band = self.people["ceiling"]
        judged = f"{self.labeling['done']:,} judgments, {self.sizes['labelers']} labelers"
        change = self.policy.change
        return [
            ("Labeler agreement", _percent(raw["value"]), _span(_pair(raw)), judged),
            ("Krippendorff's alpha", _plain(alpha["value"]), _span(_pair(alpha), 2), "ordinal"),
            (
                "Human level",
                _percent(self.people["human_level"]["value"]),
                "",
                "one labeler predicts another",
            ),
            (
                "Noise ceiling",
                _percent(self.ceiling),
                _span([band.get("ceiling_low"), band.get("ceiling_high")]),
                "exact; band from votes",
            ),
            (
                "Reward model on votes",
                _percent(self.people["accuracy_on_votes"]["value"]),
                "",
                f"{self.reward.comparisons} held-out comparisons",
            ),
            (
                "Reward model on the truth",
                *_measured(self.reward.accuracy),
                f"length only: {_percent(truth.value(self.reward.length_only))}",
            ),
            (
                "KL to SFT model",
                f"{_plain(self._kl_nats)} nats",
                "",
                f"{self.policy_metrics['steps']} steps, best at {self.policy_metrics['best_step']}",
            ),
            (
                "True utility, old → new",
                f"{_plain(truth.value(self.policy.before))} → "
                f"{_plain(truth.value(self.policy.after))}",
                _span(truth.bounds(change), 2),
                "interval of the difference",
            ),
            (
                "Win rate, by labelers",
                _percent(self.evaluation["share"]),
                _span([self.evaluation["low"], self.evaluation["high"]]),
                f"blind, {self.evaluation['judged']} judgments",
            ),
            (
                "Win rate, by the truth",
                *_measured(self.policy.win_rate),
                f"{self.policy.prompts} prompts, ties count half",
            ),
            ("Decision", "promoted" if self.promoted else "held", "", ""),
        ]


def _measured(measure: Measure) -> tuple[str, str]:
    return _percent(truth.value(measure)), _span(truth.bounds(measure))


def _utility(policy: PolicyTruth) -> dict[str, Any]:
    return {
        "before": truth.value(policy.before),
        "after": truth.value(policy.after),
        "change": truth.value(policy.change),
        "change_ci": truth.bounds(policy.change),
    }


def _pair(measure: dict[str, Any]) -> list[float | None]:
    return [measure["low"], measure["high"]]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _span(bounds: list[float] | list[float | None] | None, digits: int | None = None) -> str:
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return ""
    if digits is not None:
        return f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
    return f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"
