"""Candidates for a round: sampled, filtered by the pre-flight checks, and queued for labelers.

Completions and comparisons have natural keys; a run that is repeated finds existing rows and
creates nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.domain import earlier_turns, preflight
from app.domain.chat_settings import ChatSettings
from app.domain.gate_policies import Gate
from app.domain.instruction_text import InstructionText
from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import RoundPlan
from app.domain.server_plan import ServerPlan
from app.domain.states import RoundState
from app.errors import Invalid
from app.models import (
    Checkpoint,
    CheckpointKind,
    Completion,
    Project,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.checkpoints import checkpoints
from app.services.datasets import demonstrations
from app.services.queue import comparisons
from app.services.rounds import gates, prompt_selection
from worker.orders import Interrupted
from worker.runs import candidate_models, choosing, gating
from worker.runs.candidate_models import CandidateModels
from worker.runs.choosing import CandidateComparison, RoundChooser
from worker.runs.data import (
    checkpoint_weights,
    preflight_figures,
    reward_reading,
    server_completions,
    shared_draws,
)
from worker.runs.data.preflight_figures import Drawn, Waste
from worker.runs.data.sampled_completions import Answering, Draw
from worker.runs.gating import GateReadings
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training.screening import Refusals

IMPORTED_MOST = 2  # completions from files in one prompt's comparisons
CHUNK_COMPARISONS = 100
SEED_OFFSET = 10**12 + 39  # candidates are sampled apart from the completions that PPO trains on


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """The round, its prompts and its models."""

    round: Round
    project: Project
    plan: RoundPlan
    instruction: InstructionText
    prompts: tuple[Prompt, ...]
    models: CandidateModels
    demonstrations: int  # in the train split, which SFT could learn from
    chooser: RoundChooser
    refusals: Refusals = field(default_factory=lambda: Refusals("prompts"))

    @property
    def policy(self) -> Checkpoint:
        """The current policy."""
        return self.models.policy

    @property
    def has_sft(self) -> bool:
        """Whether the candidates' model has been fine-tuned here."""
        return self.policy.kind != CheckpointKind.BASE

    @property
    def k(self) -> int:
        """Completions in a comparison."""
        return self.plan.k or self.project.k

    @property
    def overlap(self) -> int:
        """Judgments that a comparison needs."""
        return self.plan.overlap or self.project.overlap


def run(context: JobContext) -> None:
    """Sample candidates, filter them, and create the comparisons of the round."""
    with context.database.reader() as session:
        task = read(session, context)
    reward_reading.check(context, task.project, task.plan.reward)
    waste, measured = Waste(), GateReadings(task.plan)
    candidates = draw_all(context, task, measured)
    kept = {
        prompt.id: _look_over(context, task, prompt, candidates, waste) for prompt in task.prompts
    }
    preflight_result = {"preflight": waste.to_json(task.overlap), **task.refusals.result}
    if gating.holds_back(
        context, task.round, RoundState.GENERATING, measured, {"comparisons": 0, **preflight_result}
    ):
        return
    if not any(kept.values()):
        refused = "".join(f"; {remark}" for remark in task.refusals.remarks)
        raise Invalid(
            f"round {task.round.number} has nothing to compare: of {waste.sampled} candidates "
            f"{dict(waste.dropped)} were dropped{refused}"
        )
    questions = _questions(task, kept)
    choice = choosing.choose(context, task.chooser, questions, task.plan, task.instruction.text)
    created = _compare(context, task, choice.questions)
    result = {"comparisons": created, **preflight_result, **measured.result}
    result |= choice.result(task.plan.choose, result.get("remarks", ()))
    context.succeed(lambda _session: result)


def read(session: Session, context: JobContext) -> GenerateTask:
    """Read the round and choose its prompts and models."""
    round_, project, plan = transactions.round_of(session, context)
    assert round_.policy_before_id is not None  # set when the stage was entered
    policy = checkpoints.get(session, project.id, round_.policy_before_id)
    as_of = transactions.made_at(session, context)
    chooser = RoundChooser.of(session, round_, plan.choose)
    asked, heldout = (
        prompt_selection.least_used(session, round_, split, Purpose.TRAIN, count, as_of=as_of)
        for split, count in (
            (Split.TRAIN, chooser.sampled(plan.prompts)),
            (Split.VALIDATION, plan.heldout_prompts),
        )
    )
    instruction = transactions.instruction_of(session, context, project)
    return GenerateTask(
        round_,
        project,
        plan,
        instruction,
        (*asked, *heldout),
        candidate_models.of_round(session, project, round_, policy, plan),
        demonstrations.count(session, project.id, Split.TRAIN),
        chooser.over(asked, plan.prompts),
    )


def draw_all(
    context: JobContext, task: GenerateTask, measured: GateReadings
) -> dict[int, list[Completion]]:
    """Return each prompt's candidates: imported and served ones, and those of the models.

    What the gates go by is put into `measured`. Spares are left out if they would be in vain.
    """
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
    models = task.models
    for other in models.earlier:
        mixed = {prompt.id: 1 for prompt in task.prompts if models.mixed(prompt) is other}
        if mixed:
            _extend(context, task, other, mixed, drawn)
    by_policy = {prompt.id: models.by_policy(prompt) for prompt in task.prompts}
    if models.initial is not None:
        left = {prompt_id: task.plan.candidates - count for prompt_id, count in by_policy.items()}
        _extend(context, task, models.initial, left, drawn)
    answering = _extend(context, task, models.policy, by_policy, drawn)
    _measure(context, task, drawn, measured, has_spares=False)
    if not _is_stopped(context, task, measured):
        _replace(context, task, answering, drawn)
        _measure(context, task, drawn, measured, has_spares=True)
    return drawn


def _measure(
    context: JobContext,
    task: GenerateTask,
    drawn: Mapping[int, Sequence[Completion]],
    measured: GateReadings,
    *,
    has_spares: bool,
) -> None:
    found = Drawn(task.plan, task.k, task.prompts, drawn, task.models.own_ids)
    measured.figures[Gate.ENDINGS] = found.endings(task.demonstrations, has_sft=task.has_sft)
    if has_spares or not _is_stopped(context, task, measured):  # the cause of everything else
        measured.figures[Gate.PREFLIGHT] = found.figures(has_spares=has_spares)


def _is_stopped(context: JobContext, task: GenerateTask, measured: GateReadings) -> bool:
    """Whether the round will wait at one of the gates, whatever the spares are."""
    firing = measured.waitable
    with context.database.reader() as session:
        return any(
            gates.stops(session, task.round.id, RoundState.GENERATING, task.plan, gate)
            for gate in firing
        )


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
    counts: Mapping[int, int],
    candidates: dict[int, list[Completion]],
) -> Answering:
    """Sample as many completions of each prompt as `counts` says by the prompt's id."""
    answering = checkpoint_weights.answering(
        context,
        checkpoint,
        task.instruction,
        four_bit=task.plan.four_bit,
        chat=task.plan.chat,
        server=checkpoint_weights.served_base(context, task.plan, task.models.policy),
    )
    prompts = [prompt for prompt in task.prompts if counts.get(prompt.id)]
    done = 0
    for count in sorted({counts[prompt.id] for prompt in prompts}):
        some = [prompt for prompt in prompts if counts[prompt.id] == count]
        wanted = Draw(task.plan.sampling, _drawing_seed(task), count)
        for rows in shared_draws.draw(context, answering, some, wanted):
            for row in rows:
                candidates[row.prompt_id].append(row)
            done += len({row.prompt_id for row in rows})
            context.report(done, len(prompts), f"responses of {checkpoint.name}")
            _obey(context)
    task.refusals.reasons.update(answering.refusals.reasons)
    return answering


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
    for rows in shared_draws.draw(context, answering, short, wanted):
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
    waste.comparisons_saved += prompt.id not in task.chooser.pool and sum(
        any(index in result.dropped for index in group) for group in unfiltered
    )
    if len(kept) < task.k:
        waste.prompts_without += 1
        return []
    return kept


def _questions(
    task: GenerateTask, kept: Mapping[int, Sequence[Completion]]
) -> list[CandidateComparison]:
    """Arrange the candidates of each prompt in comparisons."""
    per_prompt = task.plan.comparisons_per_prompt
    return [
        CandidateComparison(prompt, number, tuple(kept[prompt.id][index] for index in group))
        for prompt in task.prompts
        for number, group in enumerate(
            preflight.groups(len(kept[prompt.id]), task.k, per_prompt, _group_seed(task, prompt))
        )
    ]


def _compare(
    context: JobContext, task: GenerateTask, questions: Sequence[CandidateComparison]
) -> int:
    """Create the comparisons, some at a time; existing ones are left unchanged."""
    for at in range(0, len(questions), CHUNK_COMPARISONS):
        with transactions.transaction(context) as session:
            project = session.get_one(Project, task.project.id)
            for asked in questions[at : at + CHUNK_COMPARISONS]:
                _create(session, task, project, asked)
        context.report(at, len(questions), "comparisons")
    return len(questions)


def _create(
    session: Session, task: GenerateTask, project: Project, asked: CandidateComparison
) -> None:
    comparisons.create(
        session,
        project,
        asked.prompt.id,
        [row.id for row in asked.completions],
        natural_key=f"round-{task.round.id}-prompt-{asked.prompt.id}-{asked.number}",
        seed=_seed(task),
        purpose=Purpose.TRAIN,
        round_id=task.round.id,
        overlap=task.overlap,
        kind=JudgmentKind(project.judgment_kind),
        chosen=None if asked.chosen is None else asked.chosen.to_json(),
    )


def _sorted(task: GenerateTask, rows: Sequence[Completion]) -> preflight.Sorted:
    return preflight_figures.sorted_drafts(task.plan, rows, task.plan.preflight)


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
