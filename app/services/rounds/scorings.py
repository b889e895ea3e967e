"""Scorings of a project: created with their prompts or file, computed by a job, read as figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import json_dataclasses, reward_parts, score_figures
from app.domain.allowed_servers import AllowedServers
from app.domain.reward_parts import PartKind, RewardPart
from app.domain.reward_plan import RewardPlan
from app.domain.score_figures import Scores, ScoreSummary
from app.domain.states import OVER_JOB_STATES, JobState
from app.errors import Conflict, Invalid, NotFound
from app.formats import fields, scored_responses
from app.models import (
    Checkpoint,
    CheckpointKind,
    Job,
    Project,
    Prompt,
    ScoredRow,
    Scoring,
    Split,
)
from app.services.checkpoints import checkpoints
from app.services.jobs import jobs
from app.services.people import audit
from app.services.project import prompt_search
from app.services.rounds import reward_checks

MOST_PROMPTS = 2000
MOST_ROWS = 20_000
MOST_SIDES = 8
EVALUATION = "evaluation"
"""The prompts of evaluation sets, beside the splits."""


@dataclass(frozen=True, slots=True)
class ScorerChoice:
    """What scores, the threshold whose share is shown, and which scores are the worst."""

    part: RewardPart
    threshold: float | None = None
    is_high_bad: bool = True

    def __post_init__(self) -> None:
        if self.threshold is not None and not isfinite(self.threshold):
            raise Invalid(f"the threshold must be a finite number, not {self.threshold}")


@dataclass(frozen=True, slots=True)
class PromptChoice:
    """Which prompts: of a split or the evaluation sets, and of a category if one is given."""

    group: str = Split.TEST
    category: str = ""
    count: int = 100

    @property
    def title(self) -> str:
        """The choice in words."""
        name = "evaluation set" if self.group == EVALUATION else f"{self.group} split"
        return f"{name}, {self.category}" if self.category else name


@dataclass(frozen=True, slots=True)
class ScoredCase:
    """A prompt with its responses and scores, by side.

    `earlier` are the turns before each response to a follow-up; empty if there are none.
    """

    place: int
    subset: str
    messages: Sequence[Mapping[str, Any]]
    earlier: Sequence[Sequence[Mapping[str, Any]]]
    texts: Sequence[str | None]
    scores: Scores


def create(
    session: Session,
    project: Project,
    scorer: ScorerChoice,
    models: Sequence[int],
    chosen: PromptChoice,
    *,
    user_id: int | None,
    servers: AllowedServers | None = None,
) -> Scoring:
    """Create a scoring of models' responses to prompts, and enqueue its job.

    Args:
        session: of the request.
        project: whose prompts and models are used.
        scorer: what scores.
        models: ids of checkpoints, the one to compare with first.
        chosen: the prompts.
        user_id: who asks.
        servers: those that the operator allows; None leaves them to the workers.

    Raises:
        Invalid: there is no such prompt, a checkpoint cannot respond, or the scorer cannot be used.
        NotFound: the project has no such checkpoint.
    """
    _check(session, project, scorer, user_id, servers)
    ids = list(dict.fromkeys(models))
    if not 1 <= len(ids) <= MOST_SIDES:
        raise Invalid(f"choose 1 to {MOST_SIDES} models to score, not {len(ids)}")
    sides = [_model(session, project, checkpoint_id) for checkpoint_id in ids]
    prompts = _prompts(session, project, chosen)
    scoring = _add(session, project, scorer, user_id)
    scoring.source = chosen.title[:200]
    scoring.sides = [{"name": side.name, "checkpoint_id": side.id} for side in sides]
    if len(prompts) < chosen.count:
        scoring.remarks = [f"{chosen.count} prompts were wanted; there are {len(prompts)}"]
    nothing = [None] * len(sides)
    rows = (
        ScoredRow(
            scoring_id=scoring.id,
            place=place,
            prompt_id=prompt.id,
            subset=prompt.category,
            messages=prompt.messages,
            texts=nothing,
            scores=nothing,
        )
        for place, prompt in enumerate(prompts)
    )
    return _begin(session, scoring, rows, user_id)


def create_of_file(
    session: Session,
    project: Project,
    scorer: ScorerChoice,
    chunks: Iterable[bytes],
    filename: str,
    *,
    user_id: int | None,
    servers: AllowedServers | None = None,
) -> Scoring:
    """Create a scoring of a file's responses or judged pairs, and enqueue its job.

    Raises:
        Invalid: the file has no response or too many rows, or the scorer cannot be used.
    """
    _check(session, project, scorer, user_id, servers)
    if scorer.part.kind is PartKind.LENGTH:
        raise Invalid(
            "a length rule counts tokens, and the file does not say whose; score models instead, "
            "or use `attune score --tokenizer`"
        )
    found = scored_responses.read(chunks)
    if len(found.rows) > MOST_ROWS:
        raise Invalid(f"a file to score has at most {MOST_ROWS} rows, not {len(found.rows)}")
    if len(found.sides) > MOST_SIDES:
        raise Invalid(f"a file to score has at most {MOST_SIDES} models, not {len(found.sides)}")
    scoring = _add(session, project, scorer, user_id)
    scoring.source = filename[:200] or "file"
    scoring.is_judged = found.is_judged
    scoring.sides = [{"name": side, "checkpoint_id": None} for side in found.sides]
    scoring.remarks = found.remarks
    rows = (
        ScoredRow(
            scoring_id=scoring.id,
            place=place,
            subset=row.subset[:120],
            messages=fields.as_messages(row.messages),
            earlier=[fields.as_messages(row.earlier.get(side, ())) for side in found.sides]
            if row.earlier
            else [],
            texts=[row.texts.get(side) for side in found.sides],
            scores=[None] * len(found.sides),
        )
        for place, row in enumerate(found.rows)
    )
    return _begin(session, scoring, rows, user_id)


def of_project(session: Session, project_id: int) -> list[Scoring]:
    """Return a project's scorings, newest first."""
    query = select(Scoring).where(Scoring.project_id == project_id)
    return list(session.scalars(query.order_by(Scoring.id.desc())))


def get(session: Session, project_id: int, scoring_id: int) -> Scoring:
    """Return a scoring of the project.

    Raises:
        NotFound: there is none.
    """
    scoring = session.get(Scoring, scoring_id)
    if scoring is None or scoring.project_id != project_id:
        raise NotFound(f"there is no scoring {scoring_id} in this project")
    return scoring


def job_of(session: Session, scoring: Scoring) -> Job | None:
    """Return the job that computes a scoring."""
    return None if scoring.job_id is None else session.get(Job, scoring.job_id)


def models(session: Session, project_id: int) -> list[Checkpoint]:
    """Return the models that can respond to prompts, oldest first."""
    return sorted(
        (
            model
            for model in checkpoints.of_project(session, project_id)
            if model.kind != CheckpointKind.REWARD and model.state == "ready"
        ),
        key=lambda model: model.id,
    )


def remove(session: Session, scoring: Scoring, *, user_id: int | None) -> None:
    """Delete a scoring with its rows.

    Raises:
        NotFound: somebody else deleted it at the same moment.
        Conflict: its job is still at work.
    """
    if session.get(Scoring, scoring.id, with_for_update=True, populate_existing=True) is None:
        raise NotFound(f"there is no scoring {scoring.id} in this project")
    job = job_of(session, scoring)
    if job is not None and JobState(job.state) not in OVER_JOB_STATES:
        raise Conflict(f"job {job.id} is computing this scoring; cancel it first")
    session.execute(delete(ScoredRow).where(ScoredRow.scoring_id == scoring.id))
    session.delete(scoring)
    audit.record(
        session,
        "scoring.remove",
        f"scoring {scoring.id}",
        actor_id=user_id,
        project_id=scoring.project_id,
    )


def part_of(scoring: Scoring) -> RewardPart:
    """Return what a scoring scores by."""
    part: RewardPart = json_dataclasses.read(RewardPart, scoring.scorer, "the scorer")
    return part


def figures(session: Session, scoring: Scoring) -> ScoreSummary:
    """Return the figures of a scoring, from the scores that there are."""
    columns, subsets = _columns(session, scoring)
    return score_figures.summarize(
        [side["name"] for side in scoring.sides],
        columns,
        scoring.threshold,
        subsets if scoring.is_judged else None,
    )


def worst(
    session: Session, scoring: Scoring, side: int, start: int, count: int
) -> tuple[list[ScoredCase], int]:
    """Return some of a side's cases, the worst score first, and how many there are.

    Of judged pairs, the worst are those whose rejected response leads by most.

    Raises:
        Invalid: there is no such side.
    """
    if not 0 <= side < len(scoring.sides):
        raise Invalid(f"side must be 0 to {len(scoring.sides) - 1}, not {side}")
    columns, _subsets = _columns(session, scoring)
    scores: Scores = columns[side]
    is_high_bad = scoring.is_high_bad
    if scoring.is_judged:
        is_high_bad = False
        scores = [
            None if better is None or worse is None else better - worse
            for better, worse in zip(columns[0], columns[1], strict=True)
        ]
    places = score_figures.worst_first(scores, is_high_bad=is_high_bad)
    shown = places[start : start + count]
    query = select(ScoredRow).where(ScoredRow.scoring_id == scoring.id, ScoredRow.place.in_(shown))
    by_place = {row.place: _case(row) for row in session.scalars(query)}
    return [by_place[place] for place in shown], len(places)


def _check(
    session: Session,
    project: Project,
    scorer: ScorerChoice,
    user_id: int | None,
    servers: AllowedServers | None,
) -> None:
    plan = RewardPlan(weight=0.0, parts=(scorer.part,))
    reward_checks.check(session, project, plan, user_id)
    if servers is not None:
        servers.check_parts(plan.parts)


def _model(session: Session, project: Project, checkpoint_id: int) -> Checkpoint:
    model = checkpoints.get(session, project.id, checkpoint_id)
    if model.kind == CheckpointKind.REWARD:
        raise Invalid(f"{model.name} is a reward model; it cannot respond to prompts")
    if model.state != "ready":
        raise Invalid(f"{model.name} is {model.state}; choose a model that is ready")
    return model


def _prompts(session: Session, project: Project, chosen: PromptChoice) -> list[Prompt]:
    if not 1 <= chosen.count <= MOST_PROMPTS:
        raise Invalid(f"a scoring has 1 to {MOST_PROMPTS} prompts, not {chosen.count}")
    conditions: list[ColumnElement[bool]] = [Prompt.project_id == project.id]
    if chosen.group == EVALUATION:
        conditions.append(Prompt.is_evaluation.is_(True))
    elif chosen.group in list(Split):
        conditions.append(Prompt.split == chosen.group)
    else:
        raise Invalid(f"prompts are of {', '.join([*Split, EVALUATION])}, not {chosen.group!r}")
    if chosen.category:
        conditions.append(prompt_search.has_category(chosen.category))
    query = select(Prompt).where(*conditions).order_by(Prompt.content_hash).limit(chosen.count)
    prompts = list(session.scalars(query))
    if not prompts:
        raise Invalid(f"the {chosen.title} has no prompts; choose others, or import some")
    return prompts


def _add(session: Session, project: Project, scorer: ScorerChoice, user_id: int | None) -> Scoring:
    title = scorer.part.name or reward_parts.described(scorer.part)
    scoring = Scoring(
        project_id=project.id,
        title=title[:200],
        source="",
        scorer=asdict(scorer.part),
        sides=[],
        rows=0,
        threshold=scorer.threshold,
        is_high_bad=scorer.is_high_bad,
        created_by_id=user_id,
        created_at=now(session),
    )
    session.add(scoring)
    session.flush()
    return scoring


def _begin(
    session: Session, scoring: Scoring, rows: Iterable[ScoredRow], user_id: int | None
) -> Scoring:
    added = list(rows)
    session.add_all(added)
    scoring.rows = len(added)
    job = jobs.enqueue(
        session,
        kind="score",
        queue="gpu",
        payload={"scoring_id": scoring.id},
        project_id=scoring.project_id,
        created_by_id=user_id,
    )
    scoring.job_id = job.id
    audit.record(
        session,
        "scoring.add",
        f"scoring {scoring.id}",
        actor_id=user_id,
        project_id=scoring.project_id,
    )
    return scoring


def _columns(session: Session, scoring: Scoring) -> tuple[list[Scores], list[str]]:
    """Return the scores of each side in order of the rows, and the rows' subsets."""
    query = (
        select(ScoredRow.scores, ScoredRow.subset)
        .where(ScoredRow.scoring_id == scoring.id)
        .order_by(ScoredRow.place)
    )
    rows = session.execute(query).all()
    columns: list[Scores] = [[row[0][side] for row in rows] for side in range(len(scoring.sides))]
    return columns, [row[1] for row in rows]


def _case(row: ScoredRow) -> ScoredCase:
    return ScoredCase(row.place, row.subset, row.messages, row.earlier, row.texts, row.scores)
