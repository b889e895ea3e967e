"""Evaluations: a new policy against the previous one, and the responses that were compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Form, Query, Request, Response

from app.domain.win_rates import EvaluationResults
from app.errors import AttuneError
from app.models import Checkpoint, Evaluation, Judge, Purpose, Round
from app.services.checkpoints import checkpoints
from app.services.judging import judges
from app.services.project import prompt_search
from app.services.rounds import (
    completion_pairs,
    evaluation_judges,
    evaluations,
    judge_jobs,
    page_verdicts,
    round_progress,
)
from app.services.rounds.completion_pairs import CompletionPair
from app.services.rounds.evaluation_judges import JudgeExplanation, JudgeOpinion
from app.services.rounds.evaluations import CategoryResults
from app.services.rounds.round_progress import LabelingProgress
from app.web import addresses, verdict_words
from app.web.deps import LeadAccess, ProjectAccess, Servers
from app.web.render import redirect, render
from app.web.row_ids import RowId
from app.web.verdict_words import VerdictWords

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

    verdict: VerdictWords  # on all prompts
    row: EvaluationRow
    pairs: list[CompletionPair]
    total: int
    by_category: tuple[CategoryResults, ...] = ()
    category: str = ""
    categories: tuple[str, ...] = ()
    tag: str = ""
    tags: tuple[str, ...] = ()
    opinions: tuple[JudgeOpinion, ...] = ()
    explanations: Mapping[int, list[JudgeExplanation]] = field(default_factory=dict)
    judges: tuple[Judge, ...] = ()
    error: str = ""

    @property
    def judge_names(self) -> list[tuple[int, str]]:
        """The judges that can be asked, as options of a form."""
        return [(judge.id, f"{judge.name} ({judge.pseudonym})") for judge in self.judges]

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
    evaluation_id: RowId,
    category: Annotated[str, Query()] = "",
    tag: Annotated[str, Query()] = "",
) -> Response:
    """Show one evaluation, on all prompts or on those with a category or a tag."""
    page = _page(access, evaluation_id, category, tag)
    return render(request, "evaluations/one.html", page)


@router.post("/p/{slug}/evaluations/{evaluation_id}/judge")
def ask_judge(
    request: Request,
    access: LeadAccess,
    servers: Servers,
    evaluation_id: RowId,
    judge_id: Annotated[int, Form()],
    decides: Annotated[bool, Form()] = False,
) -> Response:
    """Ask an AI judge about an evaluation, beside people or in their place."""
    evaluation = evaluations.get(access.session, access.project.id, evaluation_id)
    judge = judges.get(access.session, access.project.id, judge_id)
    ask = judge_jobs.decide if decides else judge_jobs.evaluate
    try:
        judges.check_server(judge, servers.judges)
        job = ask(access.session, judge, evaluation, actor_id=access.user.id)
    except AttuneError as error:
        page = _page(access, evaluation_id, "", "", str(error))
        return render(request, "evaluations/one.html", page, status=422)
    url = addresses.path("evaluations.show", slug=access.project.slug, evaluation_id=evaluation_id)
    return redirect(request, url, notice=f"Job {job.id} asks {judge.name}.")


def _page(
    access: ProjectAccess, evaluation_id: int, category: str, tag: str, error: str = ""
) -> EvaluationPage:
    session, project_id = access.session, access.project.id
    evaluation = evaluations.get(session, project_id, evaluation_id)
    pairs = completion_pairs.of_evaluation(session, evaluation)
    pairs.sort(key=lambda pair: -abs(pair.score_new - pair.score_old))
    verdict = page_verdicts.of_evaluation(session, evaluation)
    return EvaluationPage(
        verdict_words.words(verdict, access.project.slug),
        _row(access, evaluation, category, tag),
        pairs[:SHOWN],
        len(pairs),
        evaluations.by_category(session, evaluation),
        category,
        tuple(prompt_search.categories(session, project_id)),
        tag,
        tuple(prompt_search.tags(session, project_id)),
        evaluation_judges.of_evaluation(session, evaluation),
        evaluation_judges.explanations(session, evaluation),
        tuple(
            judge for judge in judges.of_project(session, project_id) if judge.archived_at is None
        ),
        error,
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
