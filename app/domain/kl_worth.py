"""How far from its reference a policy may go, and at what price, by what its reward has learned.

The true utility of a policy rises with √KL and then falls, the earlier the less the reward model
has seen (Gao et al. 2022, arXiv 2210.10760, "Scaling Laws for Reward Model Overoptimization").
The constants are measured: docs/log.md, "Why rounds do not climb" and "A KL budget by the number
of judgments".
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from app.domain.plan import Algorithm, PolicyPlan

RECORDED: Final = "choices"
"""Where a reward model's settings have their number; models of earlier versions lack it."""
CHOICES, DISTANCE = 180, 1.9
FULL_PRICE_CHOICES: Final = 600


def distance(choices: int) -> float:
    """Return the √KL, in √nats per response, at which training should stop.

    Args:
        choices: that the reward model was fitted to: K − 1 for each comparison of K responses.

    """
    return float(DISTANCE * (max(choices, 1) / CHOICES) ** 0.25)


def budget(policy: PolicyPlan, reward: Mapping[str, Any]) -> float | None:
    """Return the √KL at which a policy's training stops; None if the plan sets no limit.

    Args:
        policy: the plan.
        reward: the settings of the reward model; empty if nobody's choices are behind the reward.

    """
    choices = reward.get(RECORDED)
    if policy.kl_budget is None or choices is None or not policy.kl_by_judgments:
        return policy.kl_budget
    return min(policy.kl_budget, round(distance(choices), 2))


def coefficient(policy: PolicyPlan, reward: Mapping[str, Any]) -> float:
    """Return the price of a nat, which in PPO and RLOO falls with the square root of the choices.

    An adaptive coefficient begins where the plan says.

    Args:
        policy: the plan.
        reward: the settings of the reward model; empty if nobody's choices are behind the reward.

    """
    choices = reward.get(RECORDED)
    is_priced = policy.algorithm in (Algorithm.PPO, Algorithm.RLOO) and not policy.is_kl_adaptive
    if choices is None or not policy.kl_by_judgments or not is_priced:
        return policy.kl_coefficient
    share = math.sqrt(min(1.0, FULL_PRICE_CHOICES / max(choices, 1)))
    return round(policy.kl_coefficient * share, 4)
