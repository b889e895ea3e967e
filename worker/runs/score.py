"""Scores responses: sampled where they do not exist yet, or those of a file.

Scores are written some rows at a time; a run that is repeated continues after them.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.domain.reward_parts import PartKind
from app.errors import Invalid
from app.models import Completion, Project, Prompt, ScoredRow, Scoring
from app.services.checkpoints import checkpoints
from app.services.jobs import shards
from app.services.jobs.shards import HeldShard, Part, ShardProgress
from app.services.rounds import scorings
from worker.orders import Interrupted
from worker.runs import answer
from worker.runs.data import checkpoint_weights, reward_reading, shared_draws
from worker.runs.data.sampled_completions import Draw
from worker.runs.process import shard_work, transactions
from worker.runs.process.job_context import JobContext
from worker.runs.process.shard_work import Do
from worker.training import reward_sources, text_scores
from worker.training.screening import Refusals
from worker.training.text_scores import ScoredText, Scorer

ROWS = 32  # between two writes
KIND = "score"  # of shards
LOCAL = frozenset({PartKind.CLASSIFIER, PartKind.REWARD_MODEL})
"""Scorers that a worker computes itself, so that several workers are faster than one."""
SCORED = "prompts scored"

Drawn = Mapping[int, Completion] | None
"""A model's responses by prompt; None if the file has those of this side."""


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
        task = _read(session, context, context.payload["scoring_id"])
    part = scorings.part_of(task.scoring)
    sources = reward_reading.sources(context, task.project)
    reward_sources.check(part, task.scoring.title, sources)
    drawn = [_draw(context, task, side) for side in task.scoring.sides]
    began = time.monotonic()
    scorer = _open(context, task)
    sharing = _Sharing(context, task, scorer, drawn, time.monotonic() - began)
    shard_work.resume(context, sharing.work)
    was_shared = sharing.complete()  # by an earlier attempt
    if was_shared:
        with context.database.reader() as session:
            task = _read(session, context, context.payload["scoring_id"])
    for at in range(0, len(task.rows), ROWS):
        began = time.monotonic()
        _score(context, scorer, task.rows[at : at + ROWS], drawn)
        done = min(at + ROWS, len(task.rows))
        context.report(done, len(task.rows), SCORED)
        _obey(context)
        if not was_shared and sharing.consider(done, time.monotonic() - began):
            break
    remarks = [*task.scoring.remarks, *_remarks(task, scorer, drawn)]

    def finish(session: Session) -> Mapping[str, Any]:
        scoring = session.get_one(Scoring, task.scoring.id)
        scoring.remarks = remarks
        scoring.finished_at = now(session)
        return {"scoring_id": scoring.id, "rows": len(task.rows), **task.refusals.result}

    context.succeed(finish)


def open_help(context: JobContext) -> Do:
    """Return what scores the shards of another job, with the scorer of the first of them."""
    opened: list[Scorer] = []

    def do(held: HeldShard) -> Mapping[str, Any]:
        with context.database.reader() as session:
            task = _read(session, context, held.payload["scoring_id"], held.payload["rows"])
            drawn = _read_drawn(session, held.payload["drawn"])
        if not opened:
            opened.append(_open(context, task))
        return _score_shard(context, opened[0], task.rows, drawn)

    return do


@dataclass(slots=True)
class _Sharing:
    """The rows to score, and whether they are shared with other workers yet."""

    context: JobContext
    task: ScoreTask
    scorer: Scorer
    drawn: Sequence[Drawn]
    load_s: float

    @property
    def work(self) -> str:
        """The name of the work."""
        return shard_work.name_of(KIND, {"scoring_id": self.task.scoring.id})

    def consider(self, done: int, chunk_s: float) -> bool:
        """Share what is left after `done` rows, if that pays; return whether all are scored then.

        Servers are as fast as they are, whoever asks them.
        """
        if scorings.part_of(self.task.scoring).kind not in LOCAL:
            return False
        left = self.task.rows[done:]
        sizes = shard_work.sizes(self.context, math.ceil(len(left) / ROWS), chunk_s, self.load_s)
        if sizes is None:
            return False
        count = sizes.chunks * ROWS
        parts = [self._part(left[at : at + count]) for at in range(0, len(left), count)]
        shard_work.share(self.context, self.work, parts, sizes.workers)
        return self.complete()

    def complete(self) -> bool:
        """Score the shards that are free, until all have ended; return whether there were any."""
        by_id = {row.id: row for row in self.task.rows}

        def do(held: HeldShard) -> Mapping[str, Any]:
            rows = [by_id[key] for key in held.payload["rows"]]
            return _score_shard(self.context, self.scorer, rows, self.drawn)

        def report(progress: ShardProgress) -> None:
            done = len(self.task.rows) - progress.rows + progress.rows_ended
            self.context.report(done, len(self.task.rows), SCORED + progress.by_workers)

        shard_work.complete(self.context, self.work, do, report)
        with self.context.database.reader() as session:
            found = shards.of_work(session, self.context.job_id, self.work)
        own = (self.context.job_id, self.context.lease_token)
        for shard in found:
            if (shard.holder_id, shard.holder_token) != own:  # the scorer here counted its own
                self.scorer.truncated += shard.result["truncated"]
                self.scorer.unscored += shard.result["unscored"]
        return bool(found)

    def _part(self, rows: Sequence[ScoredRow]) -> Part:
        prompts = [row.prompt_id for row in rows if row.prompt_id is not None]
        ids = [
            None
            if side is None
            else {str(prompt_id): side[prompt_id].id for prompt_id in prompts if prompt_id in side}
            for side in self.drawn
        ]
        payload = {"scoring_id": self.task.scoring.id, "rows": [row.id for row in rows]}
        return Part(len(rows), {"kind": KIND, **payload, "drawn": ids})


def _score_shard(
    context: JobContext, scorer: Scorer, rows: Sequence[ScoredRow], drawn: Sequence[Drawn]
) -> dict[str, int]:
    """Score rows chunk by chunk; return how many the scorer could not read whole, or score."""
    truncated, unscored = scorer.truncated, scorer.unscored
    for at in range(0, len(rows), ROWS):
        _score(context, scorer, rows[at : at + ROWS], drawn)
        _obey(context)
    return {
        "truncated": scorer.truncated - truncated,
        "unscored": scorer.unscored - unscored,
    }


def _read_drawn(
    session: Session, drawn: Sequence[Mapping[str, int] | None]
) -> list[dict[int, Completion] | None]:
    """Return the completions that a shard names, by prompt and for each side."""
    ids = [key for side in drawn if side is not None for key in side.values()]
    rows = session.scalars(select(Completion).where(Completion.id.in_(ids)))
    by_id = {row.id: row for row in rows}
    return [
        None if side is None else {int(prompt): by_id[key] for prompt, key in side.items()}
        for side in drawn
    ]


def _open(context: JobContext, task: ScoreTask) -> Scorer:
    return text_scores.open_scorer(
        scorings.part_of(task.scoring),
        reward_reading.sources(context, task.project),
        device=context.device,
        instruction=task.instruction.text if task.prompts else "",
        thought_end=task.chat.thought_end,
    )


def _read(
    session: Session, context: JobContext, scoring_id: int, row_ids: Sequence[int] | None = None
) -> ScoreTask:
    """Read the scoring, and all of its rows or some."""
    scoring = session.get(Scoring, scoring_id)
    if scoring is None:
        raise Invalid(f"scoring {scoring_id} was deleted")
    project = session.get_one(Project, scoring.project_id)
    query = select(ScoredRow).where(ScoredRow.scoring_id == scoring.id).order_by(ScoredRow.place)
    if row_ids is not None:
        query = query.where(ScoredRow.id.in_(row_ids))
    rows = tuple(session.scalars(query))
    ids = [row.prompt_id for row in rows if row.prompt_id is not None]
    by_id = {row.id: row for row in session.scalars(select(Prompt).where(Prompt.id.in_(ids)))}
    prompts = {key: by_id[key] for key in ids}
    instruction = transactions.instruction_of(session, context, project)
    return ScoreTask(scoring, project, rows, prompts, instruction)


def _draw(context: JobContext, task: ScoreTask, side: Mapping[str, Any]) -> Drawn:
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
    scorer: Scorer,
    rows: Sequence[ScoredRow],
    drawn: Sequence[Drawn],
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


def _response(row: ScoredRow, side: int, completions: Drawn) -> ScoredText | None:
    if completions is None:
        text, earlier = row.texts[side], row.earlier[side] if row.earlier else []
        return None if text is None else ScoredText([*row.messages, *earlier], str(text))
    completion = completions.get(row.prompt_id or 0)
    if completion is None:
        return None
    tokens = len(completion.token_ids or ()) or None
    turns = [*row.messages, *completion.earlier]
    return ScoredText(turns, completion.text, tokens, completion.is_finished)


def _remarks(task: ScoreTask, scorer: Scorer, drawn: Sequence[Drawn]) -> list[str]:
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
