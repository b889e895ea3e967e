"""Verdicts: the finding that each page opens with, and what to do about it."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.domain.page_verdicts.verdict import Insight, PageVerdict, Tone
from app.models import Project
from app.services.checkpoints import checkpoints
from app.services.quality import agreement, labeler_quality
from app.services.rounds import evaluations, next_step, page_verdicts, round_progress
from app.web import next_step_words, verdict_words
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute
from app.web.next_step_parts import NextStepWords

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["verdicts"], route_class=GuardedRoute)


class VerdictOut(BaseModel):
    """What a page opens with."""

    finding: Insight = Field(description="By name; `step` is the project's next step.")
    tone: Tone = Field(
        description="How serious it is: check and bad are to be looked into before anything else, "
        "early means that there is not enough yet to tell."
    )
    sentence: str
    advice: str = Field(description="What to do, as a phrase; empty if there is nothing to do.")
    page: str = Field(description="The path of the page where it is done; may be empty.")
    figures: dict[str, Any] = Field(
        description="The numbers in the sentence; shares have a value, an interval and n."
    )

    @classmethod
    def of(
        cls, verdict: PageVerdict, project: Project, step: NextStepWords | None = None
    ) -> "VerdictOut":
        """Return a verdict as the API sends it."""
        words = verdict_words.words(verdict, project.slug, step)
        return cls(
            finding=words.finding,
            tone=words.tone,
            sentence=words.sentence,
            advice=words.advice,
            page=words.url,
            figures=verdict_words.values(verdict),
        )


@router.get("/verdict")
def of_project(access: LeadAccess) -> VerdictOut:
    """Return the verdict of the overview: the next step, unless labels cannot be trusted."""
    session, project = access.session, access.project
    step = next_step.of_project(session, project)
    verdict = page_verdicts.of_project(session, project, step)
    return VerdictOut.of(verdict, project, next_step_words.words(project, step))


@router.get("/agreement/verdict")
def of_agreement(access: LeadAccess) -> VerdictOut:
    """Return the verdict on the agreement of all labelers."""
    report = agreement.report(access.session, access.project.id)
    verdict = page_verdicts.of_agreement(access.session, access.project, report)
    return VerdictOut.of(verdict, access.project)


@router.get("/labelers/verdict")
def of_labelers(access: LeadAccess) -> VerdictOut:
    """Return the verdict on the labelers' work."""
    quality = labeler_quality.of_project(access.session, access.project.id)
    verdict = page_verdicts.of_labelers(access.session, access.project, quality)
    return VerdictOut.of(verdict, access.project)


@router.get("/rounds/{number}/verdict")
def of_round(access: LeadAccess, number: int) -> VerdictOut:
    """Return the verdict on a round: its next step, or its outcome."""
    session, project = access.session, access.project
    overview = round_progress.overview(session, round_progress.get(session, project.id, number))
    step = next_step.what_next(session, project, overview)
    verdict = page_verdicts.of_round(session, project, overview, step)
    return VerdictOut.of(verdict, project, next_step_words.words(project, step))


@router.get("/evaluations/{evaluation_id}/verdict")
def of_evaluation(access: LeadAccess, evaluation_id: int) -> VerdictOut:
    """Return the verdict on an evaluation, on all of its prompts."""
    evaluation = evaluations.get(access.session, access.project.id, evaluation_id)
    verdict = page_verdicts.of_evaluation(access.session, evaluation)
    return VerdictOut.of(verdict, access.project)


@router.get("/checkpoints/{checkpoint_id}/verdict")
def of_checkpoint(access: LeadAccess, checkpoint_id: int) -> VerdictOut:
    """Return the verdict on a model."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    verdict = page_verdicts.of_checkpoint(access.session, checkpoint)
    return VerdictOut.of(verdict, access.project)
