"""Evaluations: a new policy against the previous one, and the responses that were compared."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response

from app.domain.win_rates import EvaluationResults
from app.models import Checkpoint, Evaluation, Purpose, Round
from app.services.checkpoints import checkpoints
from app.services.project import prompt_search
from app.services.rounds import evaluations, round_progress
from app.services.rounds.evaluations import CategoryResults, CompletionPair
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
    by_category: tuple[CategoryResults, ...] = ()
    category: str = ""
    categories: tuple[str, ...] = ()
    tag: str = ""
    tags: tuple[str, ...] = ()

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
def show(
    request: Request,
    access: LeadAccess,
    evaluation_id: int,
    category: Annotated[str, Query()] = "",
    tag: Annotated[str, Query()] = "",
) -> Response:
    """Show one evaluation, on all prompts or on those with a category or a tag."""
    page = _page(access, evaluation_id, category, tag)
    return render(request, "evaluations/one.html", page)


def _page(access: ProjectAccess, evaluation_id: int, category: str, tag: str) -> EvaluationPage:
    session, project_id = access.session, access.project.id
    evaluation = evaluations.get(session, project_id, evaluation_id)
    pairs = evaluations.completion_pairs(session, evaluation)
    pairs.sort(key=lambda pair: -abs(pair.score_new - pair.score_old))
    return EvaluationPage(
        _row(access, evaluation, category, tag),
        pairs[:SHOWN],
        len(pairs),
        evaluations.by_category(session, evaluation),
        category,
        tuple(prompt_search.categories(session, project_id)),
        tag,
        tuple(prompt_search.tags(session, project_id)),
    )


def _row(
    access: ProjectAccess, evaluation: Evaluation, category: str = "", tag: str = ""
) -> EvaluationRow:
    session, project_id = access.session, access.project.id
    return EvaluationRow(
        evaluation,
        evaluations.results(
            session,
            evaluation,
            categories=(category,) if category else (),
            tags=(tag,) if tag else (),
        ),
        checkpoints.get(session, project_id, evaluation.new_checkpoint_id),
        checkpoints.get(session, project_id, evaluation.old_checkpoint_id),
        round_progress.by_id(session, evaluation.round_id),
        round_progress.labeling_of(session, evaluation.round_id, Purpose.EVALUATION)
        if evaluation.round_id
        else LabelingProgress(0, 0, 0),
    )
