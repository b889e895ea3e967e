"""Form fields for the comparisons of a round that a rule chooses."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pydantic import BaseModel

from app.domain.bounds import between
from app.domain.choosing import SHARE_MOST, ChoicePlan, ChoiceRule
from app.domain.plan import RoundPlan
from app.errors import Invalid

RULES: Final = (
    (ChoiceRule.RANDOM, "none, draw at random"),
    (ChoiceRule.UNCERTAINTY, "reward model is unsure"),
    (ChoiceRule.DISAGREEMENT, "ensemble disagrees"),
    (ChoiceRule.INFORMATION, "most information (BALD)"),
    (ChoiceRule.POLICIES, "policies differ"),
)


class ChoiceFields(BaseModel):
    """The fields; the share is in percent."""

    choose_rule: ChoiceRule = ChoiceRule.RANDOM
    choose_share: int = round(100 * ChoicePlan().share)
    choose_pool: int = ChoicePlan().pool

    def choosing(self) -> ChoicePlan:
        """Return what the form says of choosing.

        Raises:
            Invalid: a value breaks a rule.
        """
        return ChoicePlan(self.choose_rule, self.choose_share / 100, self.choose_pool)

    def choosing_problems(self) -> dict[str, str]:
        """Return a message for each invalid field, checked one at a time."""
        checks: dict[str, Callable[[], object]] = {
            "choose_share": partial(
                between,
                "the chosen share in percent",
                self.choose_share,
                0,
                round(100 * SHARE_MOST),
            ),
            "choose_pool": partial(ChoicePlan, pool=self.choose_pool),
        }
        problems: dict[str, str] = {}
        for name, check in checks.items():
            try:
                check()
            except Invalid as error:
                problems[name] = str(error)
        return problems


def of(plan: RoundPlan) -> dict[str, Any]:
    """Return the values of `ChoiceFields` for a plan."""
    return {
        "choose_rule": plan.choose.rule,
        "choose_share": round(100 * plan.choose.share),
        "choose_pool": plan.choose.pool,
    }
