"""Scores responses: sampled where they do not exist yet, or those of a file.

Scores are written some rows at a time; a run that is repeated continues after them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.errors import Invalid
from app.models import Completion, Project, Prompt, ScoredRow, Scoring
from app.services.checkpoints import checkpoints
from app.services.rounds import scorings
from worker.orders import Interrupted
from worker.runs import answer
from worker.runs.data import checkpoint_weights, reward_reading, shared_draws
from worker.runs.data.sampled_completions import Draw
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training import reward_sources, text_scores
from worker.training.screening import Refusals
from worker.training.text_scores import ScoredText, Scorer

ROWS = 32  # between two writes


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """The scoring with its rows, and the prompts of those that models respond to."""

    scoring: Scoring
    project: Project
    rows: tuple[ScoredRow, ...]
    prompts: Mapping[int, Prompt]
    instruction: InstructionText
    refusals: Refusals = field(default_factory=lambda: Refusals("prompts"))

    @property
    def chat(self) -> ChatSettings:
        """The project's settings for chat templates."""
        return ChatSettings.from_json(self.project.chat)


def run(context: JobContext) -> None:
    """Let the models respond, score all responses, and record what could not be scored."""
    with context.database.reader() as session:
        task = _read(session, context)
    part = scorings.part_of(task.scoring)
    sources = reward_reading.sources(context, task.project)
    reward_sources.check(part, task.scoring.title, sources)
    drawn = [_draw(context, task, side) for side in task.scoring.sides]
    scorer = text_scores.open_scorer(
        part,
        sources,
        device=context.device,
        instruction=task.instruction.text if task.prompts else "",
        thought_end=task.chat.thought_end,
    )
    for at in range(0, len(task.rows), ROWS):
        _score(context, task, scorer, task.rows[at : at + ROWS], drawn)
        done = min(at + ROWS, len(task.rows))
        context.report(done, len(task.rows), "prompts scored")
        _obey(context)
    remarks = [*task.scoring.remarks, *_remarks(task, scorer, drawn)]

    def finish(session: Session) -> Mapping[str, Any]:
        scoring = session.get_one(Scoring, task.scoring.id)
        scoring.remarks = remarks
        scoring.finished_at = now(session)
        return {"scoring_id": scoring.id, "rows": len(task.rows), **task.refusals.result}

    context.succeed(finish)


def _read(session: Session, context: JobContext) -> ScoreTask:
    scoring = session.get(Scoring, context.payload["scoring_id"])
    if scoring is None:
        raise Invalid(f"scoring {context.payload['scoring_id']} was deleted")
    project = session.get_one(Project, scoring.project_id)
    query = select(ScoredRow).where(ScoredRow.scoring_id == scoring.id).order_by(ScoredRow.place)
    rows = tuple(session.scalars(query))
    ids = [row.prompt_id for row in rows if row.prompt_id is not None]
    by_id = {row.id: row for row in session.scalars(select(Prompt).where(Prompt.id.in_(ids)))}
    prompts = {key: by_id[key] for key in ids}
    instruction = transactions.instruction_of(session, context, project)
    return ScoreTask(scoring, project, rows, prompts, instruction)


def _draw(
    context: JobContext, task: ScoreTask, side: Mapping[str, Any]
) -> dict[int, Completion] | None:
    """Return a model's responses by prompt; None if the file has those of this side."""
    if side["checkpoint_id"] is None:
        return None
    with context.database.reader() as session:
        model = checkpoints.get(session, task.project.id, side["checkpoint_id"])
    answering = checkpoint_weights.answering(context, model, task.instruction, chat=task.chat)
    completions: dict[int, Completion] = {}
    wanted = Draw(answer.SETTINGS, answer.SEED, 1)
    prompts = list(task.prompts.values())
    for rows in shared_draws.draw(context, answering, prompts, wanted):
        completions |= {row.prompt_id: row for row in rows}
        context.report(len(completions), len(prompts), f"responses of {model.name}")
        _obey(context)
    task.refusals.reasons.update(answering.refusals.reasons)
    return completions


def _score(
    context: JobContext,
    task: ScoreTask,
    scorer: Scorer,
    rows: Sequence[ScoredRow],
    drawn: Sequence[Mapping[int, Completion] | None],
) -> None:
    """Score the responses of some rows that are not scored yet, and write both."""
    asked: list[tuple[int, int]] = []  # row, side
    responses: list[ScoredText] = []
    texts = [list(row.texts) for row in rows]
    scores = [list(row.scores) for row in rows]
    earlier: list[list[Any]] = [list(row.earlier) or [[] for _ in drawn] for row in rows]
    for number, row in enumerate(rows):
        for side, completions in enumerate(drawn):
            response = _response(row, side, completions)
            if response is not None and scores[number][side] is None:
                texts[number][side] = response.text
                earlier[number][side] = list(response.messages[len(row.messages) :])
                asked.append((number, side))
                responses.append(response)
    if not responses:
        return
    for (number, side), score in zip(asked, scorer.score(responses), strict=True):
        scores[number][side] = score
    with transactions.transaction(context) as session:
        for number, row in enumerate(rows):
            stored = session.get_one(ScoredRow, row.id)
            stored.texts, stored.scores = texts[number], scores[number]
            stored.earlier = earlier[number] if any(earlier[number]) else []


def _response(
    row: ScoredRow, side: int, completions: Mapping[int, Completion] | None
) -> ScoredText | None:
    if completions is None:
        text, earlier = row.texts[side], row.earlier[side] if row.earlier else []
        return None if text is None else ScoredText([*row.messages, *earlier], str(text))
    completion = completions.get(row.prompt_id or 0)
    if completion is None:
        return None
    tokens = len(completion.token_ids or ()) or None
    turns = [*row.messages, *completion.earlier]
    return ScoredText(turns, completion.text, tokens, completion.is_finished)


def _remarks(
    task: ScoreTask, scorer: Scorer, drawn: Sequence[Mapping[int, Completion] | None]
) -> list[str]:
    remarks = [
        f"{len(task.prompts) - len(completions)} prompts leave {side['name']} no room for a "
        "response, or its chat template refuses them"
        for side, completions in zip(task.scoring.sides, drawn, strict=True)
        if completions is not None and len(completions) < len(task.prompts)
    ]
    return remarks + scorer.remarks


def _obey(context: JobContext) -> None:
    if context.should_stop() in {"cancel", "preempt"}:
        raise Interrupted(f"{context.title} was asked to stop")
