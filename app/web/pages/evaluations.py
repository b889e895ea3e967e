"""Evaluations: a new policy against the previous one, and the responses that were compared."""

from dataclasses import dataclass

from fastapi import Request, Response

from app.domain.win_rates import EvaluationResults
from app.models import Checkpoint, Evaluation, Purpose, Round
from app.services.checkpoints import checkpoints
from app.services.rounds import evaluations, round_progress
from app.services.rounds.evaluations import CompletionPair
from app.services.rounds.round_progress import LabelingProgress
from app.web import addresses
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import render

router = addresses.page_router()

SHOWN = 50


@dataclass(frozen=True, slots=True)
class EvaluationRow:
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

    rows: list[EvaluationRow]


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """One evaluation with its pairs of responses, those with the largest score difference first."""

    row: EvaluationRow
    pairs: list[CompletionPair]
    total: int

    @property
    def votes_may_show(self) -> bool:
        """Whether judging is over; until then, nobody sees which response is whose."""
        return self.row.evaluation.state == evaluations.COMPLETE


@router.get("/p/{slug}/evaluations")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the evaluations."""
    listed = evaluations.of_project(access.session, access.project.id)
    page = EvaluationsPage([_row(access, evaluation) for evaluation in listed])
    return render(request, "evaluations/page.html", page)


@router.get("/p/{slug}/evaluations/{evaluation_id}")
def show(request: Request, access: LeadAccess, evaluation_id: int) -> Response:
    """Show one evaluation."""
    evaluation = evaluations.get(access.session, access.project.id, evaluation_id)
    pairs = evaluations.completion_pairs(access.session, evaluation)
    pairs.sort(key=lambda pair: -abs(pair.score_new - pair.score_old))
    page = EvaluationPage(_row(access, evaluation), pairs[:SHOWN], len(pairs))
    return render(request, "evaluations/one.html", page)


def _row(access: ProjectAccess, evaluation: Evaluation) -> EvaluationRow:
    session, project_id = access.session, access.project.id
    return EvaluationRow(
        evaluation,
        evaluations.results(session, evaluation),
        checkpoints.get(session, project_id, evaluation.new_checkpoint_id),
        checkpoints.get(session, project_id, evaluation.old_checkpoint_id),
        round_progress.by_id(session, evaluation.round_id),
        round_progress.labeling_of(session, evaluation.round_id, Purpose.EVALUATION)
        if evaluation.round_id
        else LabelingProgress(0, 0, 0),
    )
