"""All figures of one round of the demo: those that the product measures, and the truth."""

from dataclasses import dataclass
from typing import Any

from app.demo import truth
from app.demo.truth import PolicyTruth, RewardTruth
from app.domain.climb import kl_nats


@dataclass(frozen=True, slots=True)
class RoundReport:
    """The figures of a round.

    `policy` compares the new policy with the previous one, and `against_sft` with the SFT model.
    Both and `reward` are measured against the panel's taste, and `default` against the default
    taste, which is the same one unless another was requested.
    """

    number: int
    promoted: bool
    agreement: dict[str, Any]
    people: dict[str, Any]
    ceiling: float
    reward: RewardTruth
    policy_metrics: dict[str, Any]
    policy: PolicyTruth
    against_sft: PolicyTruth
    default: PolicyTruth
    evaluation: dict[str, Any]
    labeling: dict[str, Any]
    seconds: dict[str, float]
    failed_checks: tuple[str, ...] = ()  # each with its figure

    @property
    def kl(self) -> float | None:
        """The KL of the new policy to the SFT model, in nats."""
        return kl_nats(self.policy_metrics)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "round": self.number,
            "promoted": self.promoted,
            "failed_checks": list(self.failed_checks),
            "agreement": {
                "raw": self.agreement["raw"]["value"],
                "raw_ci": pair(self.agreement["raw"]),
                "alpha": self.agreement["alpha"]["value"],
                "alpha_ci": pair(self.agreement["alpha"]),
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
                "kl_nats": self.kl,
                "steps": self.policy_metrics["steps"],
                "best_step": self.policy_metrics["best_step"],
                "stop_reason": self.policy_metrics["stop_reason"],
            },
            "utility": _utility(self.policy),
            "utility_sft": _utility(self.against_sft),
            "utility_default": _utility(self.default),
            "win_rate": {
                "labelers": self.evaluation["share"],
                "labelers_ci": [self.evaluation["low"], self.evaluation["high"]],
                "truth": truth.value(self.policy.win_rate),
                "truth_ci": truth.bounds(self.policy.win_rate),
            },
            "win_rate_sft": {
                "truth": truth.value(self.against_sft.win_rate),
                "truth_ci": truth.bounds(self.against_sft.win_rate),
            },
            "n": {
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


def pair(measure: dict[str, Any]) -> list[float | None]:
    """Return the ends of the interval of a measure of the API."""
    return [measure["low"], measure["high"]]


def _utility(policy: PolicyTruth) -> dict[str, Any]:
    return {
        "before": truth.value(policy.before),
        "after": truth.value(policy.after),
        "change": truth.value(policy.change),
        "change_ci": truth.bounds(policy.change),
    }
