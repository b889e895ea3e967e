"""What a project's lead should do next: a heading, a sentence, and the buttons for it."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.plan import RoundPlan
from app.domain.states import JobState, RoundState
from app.errors import Invalid
from app.models import Comparison, Job, Judgment, Membership, Project, Purpose, Round
from app.services.jobs import workers
from app.services.project import prompts
from app.services.quality import agreement
from app.services.rounds import evaluations, readiness, round_progress

PACE_OVER = timedelta(minutes=30)

_DOING = {
    RoundState.PLANNED: "The round is about to start",
    RoundState.SFT: "The model is learning from demonstrations",
    RoundState.GENERATING: "The model is writing candidates",
    RoundState.REWARD: "The reward model is learning from the judgments",
    RoundState.POLICY: "The policy is practising against the reward model",
    RoundState.EVALUATING: "Both policies are answering the evaluation prompts",
}


@dataclass(frozen=True, slots=True)
class Action:
    """A button: a link, or a form where `is_post`."""

    label: str
    url: str
    is_post: bool = False
    is_main: bool = False
    confirm: str = ""


@dataclass(frozen=True, slots=True)
class Next:
    """What to do now, in a heading, a sentence and buttons."""

    title: str
    text: str
    actions: tuple[Action, ...] = ()


def what_next(
    session: Session, project: Project, overview: round_progress.RoundOverview | None
) -> Next:
    """Say what the lead should do now."""
    base = f"/p/{project.slug}"
    if project.is_paused:
        return Next(
            "Labeling is paused",
            "Nobody gets a comparison until it is opened again.",
            (Action("Settings", f"{base}/settings", is_main=True),),
        )
    if overview is None or overview.round.state in (
        RoundState.PROMOTED,
        RoundState.HELD,
        RoundState.CANCELLED,
    ):
        return _before_a_round(session, project, overview, base)
    here = f"{base}/rounds/{overview.round.number}"
    state = RoundState(overview.round.state)
    if state is RoundState.FAILED:
        return Next(
            f"Round {overview.round.number} has failed",
            f"{overview.round.reason}. Once the cause is mended, the stage can be tried again.",
            (
                Action("Try again", f"{here}/retry", is_post=True, is_main=True),
                Action("See the round", here),
            ),
        )
    if state is RoundState.DECIDING:
        return _decide(session, overview, here)
    if state is RoundState.LABELING:
        return _label(session, project, overview, overview.labeling, base, here)
    if state is RoundState.EVALUATING and overview.evaluation_labeling.wanted:
        return _label(session, project, overview, overview.evaluation_labeling, base, here)
    return _wait(session, overview, state, here)


def _before_a_round(
    session: Session, project: Project, overview: round_progress.RoundOverview | None, base: str
) -> Next:
    counts = prompts.counts(session, project.id)
    if not sum(counts.values()):
        return Next(
            "Bring in prompts",
            "Prompts are what the model answers and people judge. One on each line is enough; "
            "demonstrations may come with them.",
            (Action("Bring in a file", f"{base}/prompts", is_main=True),),
        )
    problem = _problem(session, project, _last_plan(overview))
    if problem:
        return Next(
            "Not ready for a round yet",
            f"{problem[:1].upper()}{problem[1:]}.",
            (
                Action("Bring in a file", f"{base}/prompts", is_main=True),
                Action("Settings", f"{base}/settings"),
            ),
        )
    number = overview.round.number + 1 if overview else 1
    text = "The model writes candidates, people compare them, and a better policy is trained."
    if overview:
        text = (
            f"Round {overview.round.number} is over: {_ended(overview.round)}. "
            "The next starts from the policy in force."
        )
    actions = [Action(f"Plan round {number}", f"{base}/rounds/new", is_main=True)]
    waiting = outside_rounds(session, project.id)
    if not waiting.is_complete:
        actions.append(Action("Label", f"{base}/label"))
        text += (
            f" {waiting.wanted - waiting.done:,} judgments are wanted on comparisons from files."
        )
    return Next(f"Start round {number}", text, tuple(actions))


def _decide(session: Session, overview: round_progress.RoundOverview, here: str) -> Next:
    if overview.evaluation is None:
        text = "There was nothing to evaluate. Promote the new policy, or keep the one before."
    else:
        found = evaluations.results(session, overview.evaluation)
        text = (
            f"People preferred the new policy {_percent(found.share, found.low, found.high)} of "
            f"the time, blind, ties half each way, on {found.prompts:,} prompts."
            if found.share is not None
            else "Nobody has judged the evaluation."
        )
    return Next("Promote or hold", text, (Action("Decide", f"{here}#decision", is_main=True),))


def _label(
    session: Session,
    project: Project,
    overview: round_progress.RoundOverview,
    labeling: round_progress.LabelingProgress,
    base: str,
    here: str,
) -> Next:
    left = labeling.wanted - labeling.done
    is_evaluation = overview.round.state == RoundState.EVALUATING
    goal = "decide" if is_evaluation else "train"
    title = f"{left:,} more judgment{'s' if left != 1 else ''}, then {goal}"
    text = f"{labeling.done:,} of {labeling.wanted:,} judgments are in."
    if not is_evaluation:
        raw = agreement.summary(session, project.id, round_id=overview.round.id).raw
        if isinstance(raw.value, float):
            text += f" Any two labelers say the same {100 * raw.value:.0f} % of the time."
    text += f" {_pace(session, project.id, left)}"
    confirm = "Ask for no more judgments in this round and go on with those that are in?"
    words = "Decide with what there is" if is_evaluation else "Train with what there is"
    actions = [Action("Label", f"{base}/label", is_main=True)]
    if labeling.done:
        actions.append(Action(words, f"{here}/finish", is_post=True, confirm=confirm))
    if not _labelers(session, project.id):
        actions.append(Action("Invite labelers", f"{base}/labelers"))
    return Next(title, text, tuple(actions))


def _wait(
    session: Session, overview: round_progress.RoundOverview, state: RoundState, here: str
) -> Next:
    job = running(overview)
    text = "The next stage begins by itself."
    if job is not None and job.state == JobState.QUEUED:
        moment = now(session)
        served = {
            queue
            for worker in workers.listed(session)
            if workers.is_alive(worker, moment)
            for queue in worker.queues
        }
        text = (
            "It waits for a worker that is busy."
            if job.queue in served
            else f"No worker serves the queue {job.queue!r} now: start one with “attune worker”."
        )
    elif job is not None and job.progress_total:
        note = job.progress_note or "under way"
        text = f"{job.progress_done:,} of {job.progress_total:,}, {note}. {text}"
    return Next(_DOING[state], text, (Action("Watch", here, is_main=True),))


def _pace(session: Session, project_id: int, left: int) -> str:
    since = now(session) - PACE_OVER
    recent = session.scalar(
        select(func.count()).where(
            Judgment.project_id == project_id,
            Judgment.is_current,
            Judgment.submitted_at >= since,
        )
    )
    if not recent:
        return "Nobody has judged in the last half hour."
    minutes = left * PACE_OVER.total_seconds() / 60 / recent
    if minutes < 90:
        return f"At the present pace labeling ends in about {max(round(minutes), 1)} min."
    return f"At the present pace labeling ends in about {minutes / 60:.0f} hours."


def _percent(value: float | None, low: float | None, high: float | None) -> str:
    shown = f"{100 * (value or 0):.0f} %"
    return shown if low is None or high is None else f"{shown} [{100 * low:.0f}, {100 * high:.0f}]"


def _ended(round_: Round) -> str:
    words = {
        RoundState.PROMOTED: "its policy was promoted",
        RoundState.HELD: "its policy was held",
        RoundState.CANCELLED: "it was cancelled",
    }
    return words[RoundState(round_.state)]


def _last_plan(overview: round_progress.RoundOverview | None) -> RoundPlan:
    return overview.plan if overview else RoundPlan()


def _problem(session: Session, project: Project, plan: RoundPlan) -> str:
    try:
        readiness.check(session, project, plan)
    except Invalid as error:
        return str(error)
    return ""


def _labelers(session: Session, project_id: int) -> int:
    query = select(func.count()).where(
        Membership.project_id == project_id, Membership.is_paused.is_(False)
    )
    return session.scalar(query) or 0


def running(overview: round_progress.RoundOverview | None) -> Job | None:
    """Return the job of a round that waits or runs."""
    if overview is None:
        return None
    live = [job for job in overview.jobs if job.state in (JobState.QUEUED, JobState.RUNNING)]
    return live[-1] if live else None


def outside_rounds(session: Session, project_id: int) -> round_progress.LabelingProgress:
    """Count the judgments that comparisons from files want and have."""
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
    return round_progress.LabelingProgress(int(count), int(wanted), int(done))
