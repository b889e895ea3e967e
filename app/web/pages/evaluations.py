"""Evaluations: new policy against old, by people and by an arbiter, and the answers compared."""

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from app.models import Checkpoint, Evaluation, Purpose, Round
from app.services.checkpoints import checkpoints
from app.services.rounds import evaluations, round_progress
from app.services.rounds.evaluations import CompletionPair, EvaluationResults
from app.services.rounds.round_progress import LabelingProgress
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import render

router = APIRouter(include_in_schema=False)

SHOWN = 50


@dataclass(frozen=True, slots=True)
class Row:
    """An evaluation with its results so far."""

    evaluation: Evaluation
    results: EvaluationResults
    new: Checkpoint
    old: Checkpoint
    round: Round | None
    labeling: LabelingProgress


@dataclass(frozen=True, slots=True)
class EvaluationsPage:
    """The evaluations, newest first."""

    rows: list[Row]


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """One evaluation with the answers that were compared; those the arbiter parts most first."""

    row: Row
    answers: list[CompletionPair]
    total: int

    @property
    def votes_may_show(self) -> bool:
        """False while people still judge: which answer is whose stays hidden from labelers."""
        return self.row.evaluation.state == evaluations.COMPLETE


@router.get("/p/{slug}/evaluations")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the evaluations."""
    found = evaluations.of_project(access.session, access.project.id)
    page = EvaluationsPage([_row(access, one) for one in found])
    return render(request, "evaluations/page.html", page)


@router.get("/p/{slug}/evaluations/{evaluation_id}")
def show(request: Request, access: LeadAccess, evaluation_id: int) -> Response:
    """Show one evaluation."""
    found = evaluations.get(access.session, access.project.id, evaluation_id)
    answers = evaluations.completion_pairs(access.session, found)
    answers.sort(key=lambda one: -abs(one.score_new - one.score_old))
    page = EvaluationPage(_row(access, found), answers[:SHOWN], len(answers))
    return render(request, "evaluations/one.html", page)


def _row(access: ProjectAccess, found: Evaluation) -> Row:
    session, project_id = access.session, access.project.id
    return Row(
        found,
        evaluations.results(session, found),
        checkpoints.get(session, project_id, found.new_checkpoint_id),
        checkpoints.get(session, project_id, found.old_checkpoint_id),
        session.get(Round, found.round_id) if found.round_id else None,
        round_progress.labeling_of(session, found.round_id, Purpose.EVALUATION)
        if found.round_id
        else LabelingProgress(0, 0, 0),
    )
