"""Form fields for the AI judges of a round: who labels, whose judgments train, who evaluates."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from app.domain.judged_by import JudgedBy
from app.domain.plan import RoundPlan

JUDGED_BY = (
    (JudgedBy.HUMAN, "people’s judgments"),
    (JudgedBy.AI, "judgments of AI judges"),
    (JudgedBy.BOTH, "both"),
)


class JudgeFields(BaseModel):
    """The fields; an empty judge stands for people."""

    judge: str = ""
    judged_by: JudgedBy = JudgedBy.HUMAN
    evaluation_judge: str = ""

    def with_judges(self, plan: RoundPlan) -> RoundPlan:
        """Return the plan with the judges of the form."""
        return replace(
            plan,
            judge=self.judge,
            reward=replace(plan.reward, judged_by=self.judged_by),
            evaluation=replace(plan.evaluation, judge=self.evaluation_judge),
        )


def of(plan: RoundPlan) -> dict[str, Any]:
    """Return the values of `JudgeFields` for a plan."""
    return {
        "judge": plan.judge,
        "judged_by": plan.reward.judged_by,
        "evaluation_judge": plan.evaluation.judge,
    }
