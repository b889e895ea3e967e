"""Sets a policy's KL budget and the price of KL by what its reward model is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.domain import kl_worth
from app.domain.plan import RoundPlan
from worker.rlhf.core.examples import RankedPrompt
from worker.training.training_loop import RunPlace


def choices(rankings: Sequence[RankedPrompt]) -> int:
    """Return how many choices people made: K − 1 for each K responses that were compared."""
    return sum(max(len(one.completions) - 1, 0) for one in rankings)


def limited(place: RunPlace, plan: RoundPlan, reward: Mapping[str, Any]) -> RoundPlan:
    """Return the plan with the KL budget and coefficient that the reward model's choices allow.

    With few choices the budget is lower than the plan's; with many the coefficient is.

    Args:
        place: where the run takes place; it says so.
        plan: of the run.
        reward: the settings of its reward model.

    """
    given, budget = plan.policy, kl_worth.budget(plan.policy, reward)
    price = kl_worth.coefficient(given, reward)
    if budget != given.kl_budget:
        place.say(
            f"The KL budget is {budget} √nats instead of {given.kl_budget}: the reward model "
            f"learned from {reward[kl_worth.RECORDED]} choices of people, and errs farther from "
            "its reference. More judgments raise the budget; policy.kl_by_judgments = false lifts "
            "this limit."
        )
    if price != given.kl_coefficient:
        place.say(
            f"The KL coefficient is {price} instead of {given.kl_coefficient}: it falls with the "
            f"{reward[kl_worth.RECORDED]} choices of people that the reward model learned from; "
            "policy.kl_by_judgments = false keeps it."
        )
    return replace(plan, policy=replace(given, kl_budget=budget, kl_coefficient=price))
