"""What a project's lead should do next, with the figures that say so.

How it is worded, and which buttons go with it, is left to the caller.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.db import now
from app.domain.gates.verdicts import PlanRemedy
from app.domain.goals import Goal
from app.domain.leaderboard import ConnectedSources
from app.domain.next_action import NextAction
from app.domain.plan import RoundPlan, Start
from app.domain.states import JobState, RoundState
from app.domain.win_rates import EvaluationResults
from app.errors import FigurePending, Invalid, NotReady
from app.models import Comparison, Job, Judgment, Project, Purpose, Round
from app.services.checkpoints import base_models
from app.services.jobs import workers
from app.services.project import prompts
from app.services.quality import agreement, kept_figures, waiting_prompts
from app.services.quality.leaderboard_filters import LeaderboardFilters
from app.services.rounds import (
    evaluations,
    gate_decisions,
    gate_views,
    gates,
    readiness,
    round_progress,
)
from app.services.rounds.gate_views import GateView
from app.services.rounds.round_progress import LabelingProgress, RoundOverview

PACE_OVER = timedelta(minutes=30)

_DECIDED = frozenset({RoundState.PROMOTED, RoundState.HELD, RoundState.CANCELLED})


@dataclass(frozen=True, slots=True)
class LabelingFigures:
    """How far labelers are with the round's comparisons, or with those of its evaluation."""

    done: int
    wanted: int
    is_evaluation: bool
    agreement: float | None  # raw agreement of any two labelers; None in an evaluation
    minutes_left: float | None  # at the pace of the last half hour; None if nobody judged
    labelers: int  # members who are not paused

    @property
    def left(self) -> int:
        """Judgments that are still wanted."""
        return self.wanted - self.done


@dataclass(frozen=True, slots=True)
class JobFigures:
    """The job that the round waits for."""

    queue: str
    is_queued: bool
    is_served: bool  # a worker that is alive takes jobs from its queue
    done: int
    total: int
    note: str
    kind: str = ""
    error: str = ""  # of the attempt before, after which the job waits
    attempts: str = ""  # such as "2 of 5"


@dataclass(frozen=True, slots=True)
class NextStep:
    """An action, and the figures that belong to it; the others are None or empty."""

    action: NextAction
    round: Round | None = None  # the project's newest
    problem: str = ""  # why a round cannot start
    remedy: str = ""  # a readiness.Remedy: where that can be changed
    imported: LabelingProgress | None = None  # judgments of comparisons that files brought
    labeling: LabelingFigures | None = None
    results: EvaluationResults | None = None
    job: JobFigures | None = None
    gates: tuple[GateView, ...] = ()  # that the round waits at
    remedies: tuple[PlanRemedy, ...] = ()  # changes of the plan for another try of a failed stage
    start: Start = Start.SFT  # what the policy of the next round is initialized from
    has_sft: bool = False  # there is an SFT model
    policy_share: float = 0.0  # of the next round's candidates that the current policy writes
    leaders: ConnectedSources | None = None  # of a leaderboard of one group, if it is known
    unasked: int = 0  # prompts that labelers could still be asked about
    overlap: int = 0  # judgments that each comparison of the next round asks for
    labelers: int = 0  # members who are not paused, before a round


def of_project(session: Session, project: Project) -> NextStep:
    """Return what the lead of a project should do now."""
    newest = next(iter(round_progress.of_project(session, project.id)), None)
    overview = round_progress.overview(session, newest) if newest else None
    return what_next(session, project, overview)


def what_next(session: Session, project: Project, overview: RoundOverview | None) -> NextStep:
    """Return what the lead should do now; `overview` is of the project's newest round."""
    if project.is_paused:
        return NextStep(NextAction.RESUME_LABELING)
    if overview is None or overview.round.state in _DECIDED:
        if not project.trains:
            return _without_rounds(session, project)
        return _before_round(session, project, overview)
    round_ = overview.round
    match RoundState(round_.state):
        case RoundState.FAILED:
            proposals = gate_decisions.proposals(session, round_)
            return NextStep(NextAction.RETRY_STAGE, round_, remedies=proposals)
        case RoundState.GATED:
            return NextStep(NextAction.PASS_GATE, round_, gates=gate_views.waiting(session, round_))
        case RoundState.DECIDING:
            evaluation = overview.evaluation
            results = evaluations.results(session, evaluation) if evaluation else None
            return NextStep(NextAction.DECIDE, round_, results=results)
        case RoundState.LABELING if not overview.labeling.is_complete or running(overview) is None:
            return _collect(session, overview, overview.labeling, is_evaluation=False)
        case RoundState.EVALUATING if overview.evaluation_labeling.wanted:
            return _collect(session, overview, overview.evaluation_labeling, is_evaluation=True)
        case _:
            return NextStep(NextAction.WAIT, round_, job=_job_figures(session, overview))


def running(overview: RoundOverview | None) -> Job | None:
    """Return the job of a round that is queued or running."""
    if overview is None:
        return None
    live = [job for job in overview.jobs if job.state in (JobState.QUEUED, JobState.RUNNING)]
    return live[-1] if live else None


def outside_rounds(session: Session, project_id: int) -> LabelingProgress:
    """Count the judgments wanted and made of comparisons that belong to no round."""
    count, wanted, done = session.execute(
        select(
            func.count(Comparison.id),
            func.coalesce(func.sum(Comparison.overlap), 0),
            func.coalesce(func.sum(Comparison.done_slots), 0),
        ).where(
            Comparison.project_id == project_id,
            Comparison.purpose == Purpose.TRAIN,
            Comparison.round_id.is_(None),
            Comparison.is_withdrawn.is_(False),
        )
    ).one()
    return LabelingProgress(int(count), int(wanted), int(done))


def _without_rounds(session: Session, project: Project) -> NextStep:
    """Return the next step towards an export or a leaderboard: to import, ask, judge or look."""
    if not sum(prompts.counts(session, project.id).values()):
        return NextStep(NextAction.IMPORT_PROMPTS)
    progress = outside_rounds(session, project.id)
    unasked = waiting_prompts.count(session, project)
    if not progress.is_complete:
        figures = LabelingFigures(
            progress.done,
            progress.wanted,
            False,
            None,
            _minutes_left(session, project.id, progress.wanted - progress.done),
            gates.count_labelers(session, project.id),
        )
        return NextStep(NextAction.COLLECT_JUDGMENTS, labeling=figures, unasked=unasked)
    if unasked:
        return NextStep(NextAction.ASK_LABELERS, imported=progress, unasked=unasked)
    if not progress.wanted:
        return NextStep(NextAction.IMPORT_RESPONSES)
    leaders = _leaders(session, project.id) if project.goal == Goal.COMPARE else None
    return NextStep(NextAction.SEE_RESULTS, imported=progress, leaders=leaders)


def _leaders(session: Session, project_id: int) -> ConnectedSources | None:
    """Return the sources as the leaderboard ranks them; None if it is not known or has no order.

    It is the leaderboard that its page shows without filters, so that it is computed once for both.
    """
    if kept_figures.is_costly(session, project_id):
        return None
    try:
        groups = LeaderboardFilters().read(session, project_id).board.groups
    except FigurePending:
        return None
    return groups[0] if len(groups) == 1 else None


def _before_round(session: Session, project: Project, overview: RoundOverview | None) -> NextStep:
    newest = overview.round if overview else None
    base = base_models.in_use(session, project)
    if base is not None and base.refusal:
        problem = f"the base model {base.name} cannot be used: {base.refusal}"
        return NextStep(NextAction.CHOOSE_MODEL, newest, problem=problem)
    if not sum(prompts.counts(session, project.id).values()):
        return NextStep(NextAction.IMPORT_PROMPTS, newest)
    problem, remedy = _problem(session, project, overview.plan if overview else RoundPlan())
    if problem:
        return NextStep(NextAction.COMPLETE_SETUP, newest, problem=problem, remedy=remedy)
    imported = outside_rounds(session, project.id)
    has_sft = project.sft_checkpoint_id is not None
    start = overview.plan.policy.start if overview else Start.SFT
    share = RoundPlan().policy_share if overview is None else overview.plan.policy_share
    return NextStep(
        NextAction.PLAN_ROUND,
        newest,
        imported=imported,
        start=start,
        has_sft=has_sft,
        policy_share=0.0 if project.policy_checkpoint_id is None else share,
        overlap=project.overlap,
        labelers=gates.count_labelers(session, project.id),
    )


def _problem(session: Session, project: Project, plan: RoundPlan) -> tuple[str, str]:
    """Return why a plan cannot be carried out, and where that is remedied; both may be empty."""
    try:
        readiness.check(session, project, plan)
    except NotReady as error:
        return str(error), error.remedy
    except Invalid as error:
        return str(error), ""
    return "", ""


def _collect(
    session: Session, overview: RoundOverview, labeling: LabelingProgress, *, is_evaluation: bool
) -> NextStep:
    round_ = overview.round
    figures = LabelingFigures(
        labeling.done,
        labeling.wanted,
        is_evaluation,
        None if is_evaluation else _raw_agreement(session, round_),
        _minutes_left(session, round_.project_id, labeling.wanted - labeling.done),
        gates.count_labelers(session, round_.project_id),
    )
    return NextStep(NextAction.COLLECT_JUDGMENTS, round_, labeling=figures)


def _raw_agreement(session: Session, round_: Round) -> float | None:
    try:
        value = agreement.summary(session, round_.project_id, round_id=round_.id).raw.value
    except FigurePending:
        return None
    return value if isinstance(value, float) else None


def _minutes_left(session: Session, project_id: int, left: int) -> float | None:
    since = now(session) - PACE_OVER
    # A statement of its own, because SQLite would choose another index over the one on the time.
    new = aliased(Judgment)
    ids = select(new.id).where(new.project_id == project_id, new.submitted_at >= since)
    recent = session.scalar(select(func.count()).where(Judgment.id.in_(ids), Judgment.is_current))
    return left * PACE_OVER.total_seconds() / 60 / recent if recent else None


def _job_figures(session: Session, overview: RoundOverview) -> JobFigures | None:
    job = running(overview)
    if job is None:
        return None
    is_queued = job.state == JobState.QUEUED
    return JobFigures(
        job.queue,
        is_queued,
        is_queued and job.queue in _served_queues(session),
        job.progress_done,
        job.progress_total,
        job.progress_note,
        job.kind,
        (job.error.strip().splitlines() or [""])[-1] if is_queued else "",
        f"{job.attempts} of {job.max_attempts}",
    )


def _served_queues(session: Session) -> set[str]:
    moment = now(session)
    return {
        queue
        for worker in workers.listed(session)
        if workers.is_alive(worker, moment)
        for queue in worker.queues
    }
