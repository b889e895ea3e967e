"""The KL budget follows what the reward model has learned from, and says so."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.domain import kl_worth
from app.domain.plan import PolicyPlan, RoundPlan
from worker.rlhf.core.examples import RankedPrompt
from worker.training import kl_limit


@dataclass
class Listener:
    """A place of a run that only listens."""

    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)


def test_choices_are_counted_by_the_responses_compared() -> None:
    rankings = [RankedPrompt(str(k), (1,), ((2,),) * k, ()) for k in (1, 2, 4)]
    assert kl_limit.choices(rankings) == 0 + 1 + 3


@pytest.mark.parametrize(
    ("choices", "changes", "budget", "price"),
    [
        (180, {}, 1.9, 0.1),
        (2880, {}, 3.8, 0.0456),  # 16 times the choices: twice the distance
        (10**6, {}, 4.0, 0.0024),  # the budget is never above the plan's
        (600, {}, 2.57, 0.1),
        (2400, {}, 3.63, 0.05),  # four times the choices: half the price
        (2400, {"is_kl_adaptive": True}, 3.63, 0.1),
        (180, {"kl_by_judgments": False}, 4.0, 0.1),
        (180, {"kl_budget": None}, None, 0.1),
        (None, {}, 4.0, 0.1),  # a reward model of an earlier version, or none
    ],
)
def test_judgments_set_the_budget_and_the_price(
    choices: int | None, changes: dict[str, Any], budget: float | None, price: float
) -> None:
    plan = RoundPlan(policy=replace(PolicyPlan(), **changes))
    settings = {} if choices is None else {kl_worth.RECORDED: choices}
    place = Listener()
    limited = kl_limit.limited(place, plan, settings)  # type: ignore[arg-type]
    assert (limited.policy.kl_budget, limited.policy.kl_coefficient) == (budget, price)
    assert replace(limited, policy=plan.policy) == plan
    changed = [budget != plan.policy.kl_budget, price != plan.policy.kl_coefficient]
    assert len(place.said) == sum(changed)
    assert (f"{budget} √nats instead of 4.0" in " ".join(place.said)) is changed[0]
    assert (f"{price} instead of 0.1" in " ".join(place.said)) is changed[1]
