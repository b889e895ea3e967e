"""Form fields for a policy's reward: labeler weights, learned model, classifier, length, pattern.

The form has one part of each kind. Further parts, which only the API can set, stay unchanged.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from app.domain.reward_parts import PartKind, RewardPart, WeightSource
from app.domain.reward_plan import RewardPlan
from app.errors import Invalid
from app.web import labeler_weights


class RewardFields(BaseModel):
    """The weight of the learned reward, and the other parts; an empty field leaves its part out."""

    learned_weight: float = 1.0
    classifier: str = ""
    classifier_label: str = ""
    classifier_weight: float = 1.0
    classifier_reads_prompt: bool = False
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
        first = {part.kind: part for part in reversed(before.parts)}
        more = [part for part in before.parts if part is not first[part.kind]]
        labelers, source = before.labelers, before.labelers_from
        written = labeler_weights.of_text(self.labeler_weights)
        if written != (labelers or ()):
            labelers, source = written, WeightSource.PLAN
        return replace(
            before,
            weight=self.learned_weight,
            parts=(*self._parts(), *more),
            labelers=labelers,
            labelers_from=source,
        )

    def reward_problems(self) -> dict[str, str]:
        """Return a message for the labeler weights if they cannot be read."""
        try:
            RewardPlan(labelers=labeler_weights.of_text(self.labeler_weights))
        except Invalid as error:
            return {"labeler_weights": str(error)}
        return {}

    def _parts(self) -> Sequence[RewardPart]:
        parts: list[RewardPart] = []
        if self.classifier.strip():
            parts.append(
                RewardPart(
                    PartKind.CLASSIFIER,
                    self.classifier_weight,
                    model=self.classifier.strip(),
                    label=self.classifier_label.strip(),
                    reads_prompt=self.classifier_reads_prompt,
                )
            )
        if self.length_shortest or self.length_longest is not None:
            parts.append(
                RewardPart(
                    PartKind.LENGTH,
                    self.length_weight,
                    shortest=self.length_shortest,
                    longest=self.length_longest,
                )
            )
        if self.pattern:
            parts.append(RewardPart(PartKind.FORMAT, self.pattern_weight, pattern=self.pattern))
        return parts


def of(plan: RewardPlan) -> dict[str, Any]:
    """Return the values of `RewardFields` for a plan."""
    values: dict[str, Any] = {
        "learned_weight": plan.weight,
        "labeler_weights": labeler_weights.to_text(plan.labelers or ()),
    }
    for part in reversed(plan.parts):
        match part.kind:
            case PartKind.CLASSIFIER:
                values |= {
                    "classifier": part.model,
                    "classifier_label": part.label,
                    "classifier_weight": part.weight,
                    "classifier_reads_prompt": part.reads_prompt,
                }
            case PartKind.LENGTH:
                values |= {
                    "length_shortest": part.shortest,
                    "length_longest": part.longest,
                    "length_weight": part.weight,
                }
            case PartKind.FORMAT:
                values |= {"pattern": part.pattern, "pattern_weight": part.weight}
    return values
