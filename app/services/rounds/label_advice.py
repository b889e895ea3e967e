"""Advice on a plan's judgments: more labelers per comparison, or more comparisons."""

from sqlalchemy.orm import Session

from app.domain import overlap_advice
from app.domain.judged_by import JudgedBy
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.overlap_advice import OverlapAdvice
from app.domain.plan import RoundPlan
from app.models import Project
from app.services.quality import agreement


def of_plan(
    session: Session, project: Project, plan: RoundPlan, prompts: int
) -> OverlapAdvice | None:
    """Return advice on as many judgments for training as a plan asks people for; None for none.

    `prompts` is the number of those in the train split.

    Raises:
        FigurePending: the agreement of a large project is being computed.
    """
    by_ai = bool(plan.judge) and plan.reward.judged_by is JudgedBy.AI
    if not plan.fits_reward or by_ai:
        return None
    comparisons = min(plan.prompts, prompts) * plan.comparisons_per_prompt
    judgments = comparisons * (plan.overlap or project.overlap)
    return of_budget(session, project, judgments, prompts * plan.comparisons_per_prompt)


def of_budget(
    session: Session, project: Project, judgments: int, comparisons_most: int
) -> OverlapAdvice | None:
    """Return advice on a number of judgments; None where labelers do not choose between responses.

    Raises:
        FigurePending: the agreement of a large project is being computed.
    """
    if not judgments or not chooses(project):
        return None
    decided = agreement.summary(session, project.id).decided
    return overlap_advice.advise(decided, judgments, comparisons_most)


def chooses(project: Project) -> bool:
    """Whether labelers of a project say which of several responses is better."""
    return KINDS[JudgmentKind(project.judgment_kind)].is_ordering
