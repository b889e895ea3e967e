"""Candidates for a round: sampled, filtered by the pre-flight checks, and queued for labelers.

Completions and comparisons have natural keys; a run that is repeated finds existing rows and
creates nothing twice.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import chat_settings, earlier_turns, preflight
from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import RoundPlan
from app.domain.preflight import Draft
from app.domain.server_plan import ServerPlan
from app.domain.states import RoundState
from app.errors import Invalid
from app.models import Checkpoint, Completion, Project, Prompt, Purpose, Round, Split
from app.services.checkpoints import checkpoints
from app.services.queue import comparisons
from app.services.rounds import prompt_selection
from worker.orders import Interrupted
from worker.runs.data import (
    checkpoint_weights,
    reward_reading,
    sampled_completions,
    server_completions,
)
from worker.runs.data.sampled_completions import Answering, Draw
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training.screening import Refusals

IMPORTED_MOST = 2  # completions from files in one prompt's comparisons
CHUNK_COMPARISONS = 100
SEED_OFFSET = 10**12 + 39  # candidates are sampled apart from the completions that PPO trains on


@dataclass(slots=True)
class Waste:
    """What the pre-flight checks dropped, and the judgments that this saved."""

    sampled: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    prompts_without: int = 0  # too few candidates were left to compare
    comparisons_saved: int = 0

    def to_json(self, overlap: int) -> dict[str, Any]:
        """Return the counts, including the judgments saved."""
        return {
            "sampled": self.sampled,
            "dropped": dict(sorted(self.dropped.items())),
            "replaced": self.replaced,
            "prompts_without": self.prompts_without,
            "comparisons_saved": self.comparisons_saved,
            "judgments_saved": self.comparisons_saved * overlap,
        }


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """The round, its prompts and its models."""

    round: Round
    project: Project
    plan: RoundPlan
    instruction: InstructionText
    prompts: tuple[Prompt, ...]
    policy: Checkpoint
    others: tuple[Checkpoint, ...]  # earlier models that take part, so that ratings connect
    refusals: Refusals = field(default_factory=lambda: Refusals("prompts"))

    @property
    def k(self) -> int:
        """Completions in a comparison."""
        return self.plan.k or self.project.k

    @property
    def overlap(self) -> int:
        """Judgments that a comparison needs."""
        return self.plan.overlap or self.project.overlap

    def mixes(self, prompt: Prompt) -> Checkpoint | None:
        """Return the earlier model that is sampled on this prompt too, if any."""
        if not self.others:
            return None
        digest = hashlib.sha256(f"{self.round.id}:{prompt.content_hash}".encode()).digest()
        if int.from_bytes(digest[:4], "big") >= self.plan.mix_share * 2**32:
            return None
        return self.others[digest[4] % len(self.others)]


def run(context: JobContext) -> None:
    """Sample candidates, filter them, and create the comparisons of the round."""
    with context.database.reader() as session:
        task = read(session, context)
    reward_reading.check(context, task.project, task.plan.reward)
    waste = Waste()
    candidates = draw_all(context, task)
    kept = {
        prompt.id: _look_over(context, task, prompt, candidates, waste) for prompt in task.prompts
    }
    if not any(kept.values()):
        refused = "".join(f"; {remark}" for remark in task.refusals.remarks)
        raise Invalid(
            f"round {task.round.number} has nothing to compare: of {waste.sampled} candidates "
            f"{dict(waste.dropped)} were dropped{refused}"
        )
    created = _compare(context, task, kept)
    result = {
        "comparisons": created,
        "preflight": waste.to_json(task.overlap),
        **task.refusals.result,
    }
    context.succeed(lambda _session: result)


def read(session: Session, context: JobContext) -> GenerateTask:
    """Read the round and choose its prompts and models."""
    round_, project, plan = transactions.round_of(session, context)
    assert round_.policy_before_id is not None  # set when the stage was entered
    policy = checkpoints.get(session, project.id, round_.policy_before_id)
    as_of = transactions.made_at(session, context)
    prompts = [
        prompt
        for split, count in (
            (Split.TRAIN, plan.prompts),
            (Split.VALIDATION, plan.heldout_prompts),
        )
        for prompt in prompt_selection.least_used(
            session, round_, split, Purpose.TRAIN, count, as_of=as_of
        )
    ]
    others = _earlier(session, project, round_, policy)
    instruction = transactions.instruction_of(session, context, project)
    return GenerateTask(round_, project, plan, instruction, tuple(prompts), policy, tuple(others))


def draw_all(context: JobContext, task: GenerateTask) -> dict[int, list[Completion]]:
    """Return each prompt's candidates: imported and served ones, earlier models', the policy's."""
    drawn: dict[int, list[Completion]] = {prompt.id: [] for prompt in task.prompts}
    if task.plan.use_imported:
        with context.database.reader() as session:
            imported = prompt_selection.imported(session, list(drawn), IMPORTED_MOST)
        follow_ups = {prompt.id: tuple(prompt.follow_up) for prompt in task.prompts}
        others = 0
        for prompt_id, rows in imported.items():
            asked = follow_ups[prompt_id]
            own = [row for row in rows if earlier_turns.follow_ups(row.earlier) == asked]
            drawn[prompt_id].extend(own)
            others += len(rows) - len(own)
        if others:
            context.say(
                f"{others} imported responses are left out: they respond to another turn of their "
                "prompts than the last follow-up."
            )
    if task.plan.server is not None:
        _ask_server(context, task, task.plan.server, drawn)
    for other in task.others:
        mixed = [prompt for prompt in task.prompts if task.mixes(prompt) is other]
        if mixed:
            _extend(context, task, other, mixed, 1, drawn)
    _extend(context, task, task.policy, task.prompts, task.plan.candidates, drawn)
    return drawn


def _ask_server(
    context: JobContext,
    task: GenerateTask,
    server: ServerPlan,
    candidates: dict[int, list[Completion]],
) -> None:
    request = server_completions.ServerRequest(
        server, task.plan.sampling, _seed(task), task.instruction, task.plan.chat or ChatSettings()
    )
    done = 0
    for rows in server_completions.draw(context, task.prompts, request):
        for row in rows:
            candidates[row.prompt_id].append(row)
        done += len({row.prompt_id for row in rows})
        context.report(done, len(task.prompts), f"responses of {server.model}")
        _obey(context)


def _extend(
    context: JobContext,
    task: GenerateTask,
    checkpoint: Checkpoint,
    prompts: Sequence[Prompt],
    count: int,
    candidates: dict[int, list[Completion]],
) -> None:
    answering = checkpoint_weights.answering(
        context, checkpoint, task.instruction, four_bit=task.plan.four_bit, chat=task.plan.chat
    )
    wanted = Draw(task.plan.sampling, _drawing_seed(task), count)
    done = 0
    for rows in sampled_completions.draw(context, answering, prompts, wanted):
        for row in rows:
            candidates[row.prompt_id].append(row)
        done += len({row.prompt_id for row in rows})
        context.report(done, len(prompts), f"responses of {checkpoint.name}")
        _obey(context)
    task.refusals.reasons.update(answering.refusals.reasons)
    if checkpoint is task.policy:
        _replace(context, task, answering, candidates)


def _replace(
    context: JobContext,
    task: GenerateTask,
    answering: Answering,
    drawn: dict[int, list[Completion]],
) -> None:
    """Sample spares for the prompts with candidates that fail the pre-flight checks."""
    rules, count = task.plan.preflight, task.plan.candidates
    short = [
        prompt
        for prompt in task.prompts
        if len(_sorted(task, drawn[prompt.id]).kept) < len(drawn[prompt.id])
    ]
    if not rules.is_on or not rules.spares or not short:
        return
    wanted = Draw(task.plan.sampling, _drawing_seed(task), rules.spares, start=count)
    for rows in sampled_completions.draw(context, answering, short, wanted):
        for row in rows:
            drawn[row.prompt_id].append(row)
        _obey(context)


def _look_over(
    context: JobContext,
    task: GenerateTask,
    prompt: Prompt,
    candidates: Mapping[int, Sequence[Completion]],
    waste: Waste,
) -> list[Completion]:
    """Return the candidates that pass the pre-flight checks, with spares only where needed."""
    rows = candidates[prompt.id]
    is_spare = [
        row.checkpoint_id == task.policy.id and row.sample_index >= task.plan.candidates
        for row in rows
    ]
    wanted = sum(not spare for spare in is_spare)
    result = _sorted(task, rows)
    kept = [rows[index] for index in result.kept][:wanted]
    waste.sampled += len(rows)
    waste.dropped.update(str(why) for why in result.dropped.values())
    waste.replaced += sum(is_spare[rows.index(row)] for row in kept)
    unfiltered = preflight.groups(
        wanted, task.k, task.plan.comparisons_per_prompt, _group_seed(task, prompt)
    )
    waste.comparisons_saved += sum(
        any(index in result.dropped for index in group) for group in unfiltered
    )
    if len(kept) < task.k:
        waste.prompts_without += 1
        return []
    return kept


def _compare(
    context: JobContext, task: GenerateTask, kept: Mapping[int, Sequence[Completion]]
) -> int:
    """Create the comparisons, some at a time; existing ones are left unchanged."""
    wanted = [
        (prompt, number, [kept[prompt.id][index].id for index in group])
        for prompt in task.prompts
        for number, group in enumerate(
            preflight.groups(
                len(kept[prompt.id]),
                task.k,
                task.plan.comparisons_per_prompt,
                _group_seed(task, prompt),
            )
        )
    ]
    for at in range(0, len(wanted), CHUNK_COMPARISONS):
        with transactions.transaction(context) as session:
            project = session.get_one(Project, task.project.id)
            for prompt, number, completion_ids in wanted[at : at + CHUNK_COMPARISONS]:
                _create(session, task, project, prompt, number, completion_ids)
        context.report(at, len(wanted), "comparisons")
    return len(wanted)


def _create(
    session: Session,
    task: GenerateTask,
    project: Project,
    prompt: Prompt,
    number: int,
    completion_ids: Sequence[int],
) -> None:
    comparisons.create(
        session,
        project,
        prompt.id,
        completion_ids,
        natural_key=f"round-{task.round.id}-prompt-{prompt.id}-{number}",
        seed=_seed(task),
        purpose=Purpose.TRAIN,
        round_id=task.round.id,
        overlap=task.overlap,
        kind=JudgmentKind(project.judgment_kind),
    )


def _earlier(
    session: Session, project: Project, round_: Round, policy: Checkpoint
) -> Iterable[Checkpoint]:
    """Return the distinct models among the SFT model and the last two rounds' policies."""
    ids = [project.sft_checkpoint_id]
    ids += session.scalars(
        select(Round.policy_checkpoint_id)
        .where(
            Round.project_id == project.id,
            Round.number < round_.number,
            Round.state.in_([RoundState.PROMOTED, RoundState.HELD]),
        )
        .order_by(Round.number.desc())
        .limit(2)
    )
    distinct = dict.fromkeys(
        checkpoint_id
        for checkpoint_id in ids
        if checkpoint_id is not None and checkpoint_id != policy.id
    )
    return [checkpoints.get(session, project.id, checkpoint_id) for checkpoint_id in distinct]


def _sorted(task: GenerateTask, rows: Sequence[Completion]) -> preflight.Sorted:
    # As labelers see them: a response that is all reasoning is empty.
    mark = task.plan.chat.thought_end if task.plan.chat else ""
    drafts = [
        Draft(
            chat_settings.without_reasoning(row.text, mark),
            row.is_finished,
            earlier_turns.responses(row.earlier),
        )
        for row in rows
    ]
    return preflight.sort(drafts, task.plan.preflight)


def _seed(task: GenerateTask) -> int:
    return task.plan.seed * 1009 + task.round.number


def _drawing_seed(task: GenerateTask) -> int:
    return _seed(task) + SEED_OFFSET


def _group_seed(task: GenerateTask, prompt: Prompt) -> str:
    return f"{_seed(task)}:{prompt.content_hash}"


def _obey(context: JobContext) -> None:
    order = context.should_stop()
    if order in {"cancel", "preempt"}:
        raise Interrupted(f"job {context.job_id} was asked to stop")
