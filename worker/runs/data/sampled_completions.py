"""Completions of a checkpoint as rows: sampled, and written once however often the job runs.

The key of a completion is its checkpoint, its sampling settings and its number, so that a run that
was killed finds what it has written and continues after it. A prompt with follow-ups is asked turn
by turn; its completion is the response to the last, and keeps the turns before it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select

from app.db import now
from app.domain import earlier_turns
from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.domain.plan import Sampling
from app.models import Checkpoint, Completion, Prompt
from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.model.models import context_tokens
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import UnfitPrompt
from worker.rlhf.sampling import engines
from worker.rlhf.sampling.engines import EnginePrompt
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training import conversations, served_sampling, token_ids
from worker.training.conversations import Question, Response, TurnEngine, Turns
from worker.training.screening import Refusals
from worker.training.served_sampling import ServerAccess

CHUNK_PROMPTS = 32
HOW = frozenset({"batch_size", "engine"})
"""Settings that affect how completions are computed, but not the completions."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A model that generates: its row, its weights, and the role to run them in.

    Attributes:
        four_bit: whether its weights were quantized when they were loaded.
        chat: the settings that it was loaded with.
        load_s: how long that took.
        access: to the server that samples it; None: it is sampled here.
    """

    checkpoint: Checkpoint
    roles: Roles
    role: str
    instruction: InstructionText
    four_bit: bool = False
    chat: ChatSettings | None = None
    load_s: float = 0.0
    refusals: Refusals = field(default_factory=lambda: Refusals("prompts"))
    access: ServerAccess | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What distinguishes its completions from others with the same settings."""
        served = {} if self.access is None else self.access.sampled_by
        return {**self.roles.loaded.chat.record, **served}


@dataclass(frozen=True, slots=True)
class Draw:
    """What to sample: `count` completions of each prompt, numbered from `start`."""

    settings: Sampling
    seed: int
    count: int
    start: int = 0

    @property
    def numbers(self) -> range:
        """The numbers of the completions."""
        return range(self.start, self.start + self.count)

    def source_key(self, answering: Answering) -> str:
        """Return the key of the rows of this model, these settings and this instruction."""
        settings = {key: v for key, v in asdict(self.settings).items() if key not in HOW}
        version = answering.instruction.version
        # The keys of version 1 are those from before there were versions.
        under: list[Any] = [version] if version > 1 else []
        record = answering.record  # empty by default, as before it could be set
        under += [record] if record else []
        text = json.dumps([settings, self.seed, *under], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"checkpoint-{answering.checkpoint.id}-{digest}"


def draw(
    context: JobContext, answering: Answering, prompts: Sequence[Prompt], wanted: Draw
) -> Iterator[list[Completion]]:
    """Yield the completions of each chunk of prompts, in order; existing ones are read.

    Prompts that leave no room for a completion, and those that the chat template refuses, get none.
    """
    done = 0
    with _engine(context, answering, wanted, lambda: (done, len(prompts))) as engine:
        for at in range(0, len(prompts), CHUNK_PROMPTS):
            done = at
            chunk = prompts[at : at + CHUNK_PROMPTS]
            existing = known(context, chunk, wanted.source_key(answering), wanted.numbers)
            todo = [prompt for prompt in chunk if len(existing.get(prompt.id, ())) < wanted.count]
            written = _write(context, answering, engine, todo, wanted) if todo else {}
            yield [row for prompt in chunk for row in (written | existing).get(prompt.id, ())]


def fits(answering: Answering, prompt: Prompt, settings: Sampling) -> bool:
    """Whether the prompt can be rendered, and leaves room for completions of all its turns."""
    limit = context_tokens(answering.roles.causal)
    question = question_of(prompt)
    try:
        ids = _ids(answering, question.skeleton)
    except UnfitPrompt as error:
        answering.refusals.reasons[f"prompt {prompt.id}"] = str(error)
        return False
    tokens = settings.max_new_tokens * (1 + len(question.follow_up))
    return limit is None or len(ids) + tokens <= limit


def question_of(prompt: Prompt) -> Question:
    """Return a prompt with its follow-ups."""
    return Question(f"prompt-{prompt.id}", prompt.messages, tuple(prompt.follow_up))


def key_of(source_key: str, follow_ups: int) -> str:
    """Return the key of a source's completions of prompts with that many follow-ups."""
    return f"{source_key}-turn-{follow_ups + 1}" if follow_ups else source_key


def known(
    context: JobContext, prompts: Sequence[Prompt], source_key: str, wanted: range
) -> dict[int, list[Completion]]:
    """Return the existing completions of a source, in order, by prompt id."""
    keys = {prompt.id: key_of(source_key, len(prompt.follow_up)) for prompt in prompts}
    query = (
        select(Completion)
        .where(
            Completion.prompt_id.in_([prompt.id for prompt in prompts]),
            Completion.source_key.in_(set(keys.values())),
            Completion.sample_index >= wanted.start,
            Completion.sample_index < wanted.stop,
        )
        .order_by(Completion.prompt_id, Completion.sample_index)
    )
    by_prompt: dict[int, list[Completion]] = {}
    with context.database.reader() as session:
        for row in session.scalars(query):
            if row.source_key == keys[row.prompt_id]:
                by_prompt.setdefault(row.prompt_id, []).append(row)
    return by_prompt


def store(context: JobContext, source_key: str, rows: Sequence[Completion]) -> None:
    """Write the rows of a source that do not exist yet."""
    with transactions.transaction(context) as session:
        moment = now(session)
        for row in rows:
            row.source_key = key_of(source_key, len(earlier_turns.follow_ups(row.earlier)))
        key = (Completion.prompt_id, Completion.source_key, Completion.sample_index)
        query = select(*key).where(
            Completion.prompt_id.in_({row.prompt_id for row in rows}),
            Completion.source_key.in_({row.source_key for row in rows}),
        )
        existing = {tuple(row) for row in session.execute(query)}
        for row in rows:
            if (row.prompt_id, row.source_key, row.sample_index) not in existing:
                row.created_at = moment
                session.add(row)


@contextmanager
def _engine(
    context: JobContext,
    answering: Answering,
    wanted: Draw,
    progress: Callable[[], tuple[int, int]],
) -> Iterator[TurnEngine[SampledCompletion]]:
    """Open what samples: the model in memory, or the server that has it."""
    roles, role, access = answering.roles, answering.role, answering.access
    if access is None:
        yield engines.in_memory(wanted.settings.engine.value, roles, role)
        return
    model = f"checkpoint-{answering.checkpoint.id}"
    with served_sampling.engine(context, roles, role, access, model, progress) as engine:
        yield engine


def _write(
    context: JobContext,
    answering: Answering,
    engine: TurnEngine[SampledCompletion],
    prompts: Sequence[Prompt],
    wanted: Draw,
) -> dict[int, list[Completion]]:
    fitting = [prompt for prompt in prompts if fits(answering, prompt, wanted.settings)]
    drawn = _sample(answering, engine, fitting, wanted)
    rows = [
        _row(answering, prompt, completion, wanted)
        for prompt in fitting
        for completion in drawn.get(prompt.id, ())
    ]
    source_key = wanted.source_key(answering)
    store(context, source_key, rows)
    return known(context, fitting, source_key, wanted.numbers)


def _sample(
    answering: Answering,
    engine: TurnEngine[SampledCompletion],
    prompts: Sequence[Prompt],
    wanted: Draw,
) -> dict[int, list[Response[SampledCompletion]]]:
    tokens = wanted.settings.max_new_tokens

    def render(key: str, turns: Turns) -> EnginePrompt | None:
        text = answering.instruction.text
        return conversations.prompt_of(answering.roles, key, turns, text, tokens)

    config = conversations.config_of(
        wanted.settings,
        # Later samples of a prompt must not repeat the random numbers of the first.
        wanted.seed + 1_000_003 * wanted.start,
        n=wanted.count,
    )
    by_prompt: dict[int, list[Response[SampledCompletion]]] = {}
    for response in conversations.respond(
        engine,
        [question_of(prompt) for prompt in prompts],
        config,
        render,
        answering.roles.loaded.chat.thought_end,
    ):
        by_prompt.setdefault(int(response.key.removeprefix("prompt-")), []).append(response)
    return by_prompt


def _row(
    answering: Answering, prompt: Prompt, response: Response[SampledCompletion], wanted: Draw
) -> Completion:
    drawn = response.completion
    return Completion(
        project_id=prompt.project_id,
        prompt_id=prompt.id,
        checkpoint_id=answering.checkpoint.id,
        source=answering.checkpoint.name,
        text=drawn.text.replace("\x00", "\N{REPLACEMENT CHARACTER}"),  # PostgreSQL stores none
        earlier=[dict(turn) for turn in response.earlier],
        sample_index=wanted.start + response.sample_index,
        token_ids=list(drawn.token_ids),
        is_finished=response.is_finished,
        finish_reason="eos" if response.is_finished else "length",
        logprob_sum=drawn.logprob_sum,
        sampling=_sampling_json(wanted, answering.record),
        instruction_version=answering.instruction.version,
    )


def _sampling_json(wanted: Draw, record: Mapping[str, Any]) -> Mapping[str, Any]:
    return asdict(wanted.settings) | {"seed": wanted.seed, **record}


def _ids(answering: Answering, turns: Turns) -> tuple[int, ...]:
    return token_ids.prompt_ids(answering.roles.loaded, turns, answering.instruction.text)
