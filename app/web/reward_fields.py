"""Form fields for a policy's reward: labeler weights, the learned model, other models and rules.

The form has a row for every reward with a model or an endpoint, and one rule of each kind. Further
rules, which only the API can set, stay unchanged.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.domain.reward_parts import RULES, PartKind, RewardPart, WeightSource
from app.domain.reward_plan import Combination, RewardPlan
from app.errors import Invalid
from app.web import labeler_weights, part_rows
from app.web.part_rows import PartRows


class RewardFields(PartRows):
    """The weight of the learned reward, and the other parts; an empty field leaves its part out."""

    learned_weight: float = 1.0
    fits_unweighted: bool = False
    safety: str = ""
    safety_threshold: float = RewardPlan().safety_threshold
    safety_tags: str = ""
    length_shortest: int = 0
    length_longest: int | None = None
    length_weight: float = 1.0
    pattern: str = ""
    pattern_weight: float = 1.0
    labeler_weights: str = ""

    def reward(self, before: RewardPlan) -> RewardPlan:
        """Return the reward plan with the weights and the parts of the form.

        Labeler weights that are those of `before` keep their source.

        Raises:
            Invalid: a value breaks a rule.
        """
        rules = [part for part in before.parts if part.kind in RULES]
        first = {part.kind: part for part in reversed(rules)}
        more = [part for part in rules if part is not first[part.kind]]
        labelers, source = before.labelers, before.labelers_from
        written = labeler_weights.of_text(self.labeler_weights)
        if written != (labelers or ()):
            labelers, source = written, WeightSource.PLAN
        safety = self.safety.strip()
        tags = tuple(tag for text in self.safety_tags.split(",") if (tag := text.strip()))
        return replace(
            before,
            weight=self.learned_weight,
            fits_unweighted=self.fits_unweighted,
            parts=(*(row.part() for row in self.rows), *self._rules(), *more),
            combination=Combination.SAFETY_FIRST if safety else Combination.SUM,
            safety=safety,
            safety_threshold=self.safety_threshold,
            safety_tags=tags if safety else (),
            labelers=labelers,
            labelers_from=source,
        )

    @property
    def has_parts(self) -> bool:
        """Whether anything but the learned reward is set."""
        has_rules = self.length_shortest or self.length_longest or self.pattern
        return bool(self.rows or has_rules or self.safety)

    @property
    def names(self) -> list[str]:
        """The names of the rewards of which one may come first."""
        return ["learned", *(row.name.strip() for row in self.rows if row.name.strip())]

    def reward_problems(self) -> dict[str, str]:
        """Return a message for the labeler weights if they cannot be read."""
        try:
            RewardPlan(labelers=labeler_weights.of_text(self.labeler_weights))
        except Invalid as error:
            return {"labeler_weights": str(error)}
        return {}

    def _rules(self) -> Sequence[RewardPart]:
        rules: list[RewardPart] = []
        if self.length_shortest or self.length_longest is not None:
            rules.append(
                RewardPart(
                    PartKind.LENGTH,
                    self.length_weight,
                    shortest=self.length_shortest,
                    longest=self.length_longest,
                )
            )
        if self.pattern:
            rules.append(RewardPart(PartKind.FORMAT, self.pattern_weight, pattern=self.pattern))
        return rules


def of(plan: RewardPlan) -> dict[str, Any]:
    """Return the values of `RewardFields` for a plan."""
    values: dict[str, Any] = {
        "learned_weight": plan.weight,
        "fits_unweighted": plan.fits_unweighted,
        "safety": plan.safety,
        "safety_threshold": plan.safety_threshold,
        "safety_tags": ", ".join(plan.safety_tags),
        "labeler_weights": labeler_weights.to_text(plan.labelers or ()),
        **part_rows.lists_of([part for part in plan.parts if part.kind not in RULES]),
    }
    for part in reversed(plan.parts):
        if part.kind is PartKind.LENGTH:
            values |= {
                "length_shortest": part.shortest,
                "length_longest": part.longest,
                "length_weight": part.weight,
            }
        elif part.kind is PartKind.FORMAT:
            values |= {"pattern": part.pattern, "pattern_weight": part.weight}
    return values
