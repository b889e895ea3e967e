"""Completions of a checkpoint as rows: drawn, and written once however often the job is run.

The key of a completion is its checkpoint, the way it was sampled and its number, so that a run that
was killed finds what it has written and goes on after it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select

from app.db import now
from app.domain.plan import Sampling
from app.models import Checkpoint, Completion, Prompt
from worker.rlhf import sampling
from worker.rlhf.data import Completion as Drawn
from worker.rlhf.data import PromptItem
from worker.rlhf.models import context_tokens
from worker.rlhf.roles import Roles
from worker.rlhf.sampling import SamplingConfig
from worker.runs import held, texts
from worker.runs.context import JobContext

CHUNK_PROMPTS = 32


@dataclass(frozen=True, slots=True)
class Answering:
    """A model that answers: its row, its weights, and the role to run them in."""

    checkpoint: Checkpoint
    roles: Roles
    role: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Draw:
    """What to draw: `count` completions of each prompt, numbered from `start`."""

    settings: Sampling
    seed: int
    count: int
    start: int = 0

    def source_key(self, checkpoint: Checkpoint) -> str:
        """Return what the rows of this model and these settings are known by."""
        settings = {key: v for key, v in asdict(self.settings).items() if key != "batch_size"}
        text = json.dumps([settings, self.seed], sort_keys=True)
        return f"checkpoint-{checkpoint.id}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def draw(
    context: JobContext, answering: Answering, prompts: Sequence[Prompt], wanted: Draw
) -> Iterator[list[Completion]]:
    """Yield the completions of each chunk of prompts, in order; what is there already is read.

    Prompts that leave no room for an answer get none.
    """
    for at in range(0, len(prompts), CHUNK_PROMPTS):
        chunk = prompts[at : at + CHUNK_PROMPTS]
        known = _known(context, answering, chunk, wanted)
        todo = [prompt for prompt in chunk if len(known.get(prompt.id, ())) < wanted.count]
        made = _write(context, answering, todo, wanted) if todo else {}
        yield [row for prompt in chunk for row in (made | known).get(prompt.id, ())]


def fits(answering: Answering, prompt: Prompt, settings: Sampling) -> bool:
    """Whether the prompt leaves room for an answer within the model's context."""
    limit = context_tokens(answering.roles.causal)
    ids = _ids(answering, prompt)
    return limit is None or len(ids) + settings.max_new_tokens <= limit


def _write(
    context: JobContext, answering: Answering, prompts: Sequence[Prompt], wanted: Draw
) -> dict[int, list[Completion]]:
    fitting = [prompt for prompt in prompts if fits(answering, prompt, wanted.settings)]
    drawn = _sample(answering, fitting, wanted)
    source_key = wanted.source_key(answering.checkpoint)
    found: dict[int, list[Completion]] = {}
    with held.transaction(context) as session:
        moment = now(session)
        query = select(Completion.prompt_id, Completion.sample_index).where(
            Completion.prompt_id.in_([prompt.id for prompt in fitting]),
            Completion.source_key == source_key,
        )
        have = {(row.prompt_id, row.sample_index) for row in session.execute(query)}
        for prompt in fitting:
            for one in drawn.get(prompt.id, ()):
                index = wanted.start + one.sample_index
                if (prompt.id, index) not in have:
                    row = _row(answering, prompt, one, wanted)
                    row.source_key, row.sample_index, row.created_at = source_key, index, moment
                    session.add(row)
        session.flush()
    for prompt_id, rows in _known(context, answering, fitting, wanted).items():
        found[prompt_id] = rows
    return found


def _sample(
    answering: Answering, prompts: Sequence[Prompt], wanted: Draw
) -> dict[int, list[Drawn]]:
    items = [PromptItem(f"prompt-{prompt.id}", _ids(answering, prompt)) for prompt in prompts]
    config = SamplingConfig(
        n=wanted.count,
        max_new_tokens=wanted.settings.max_new_tokens,
        temperature=wanted.settings.temperature,
        top_p=wanted.settings.top_p,
        top_k=wanted.settings.top_k,
        # Later samples of a prompt must not repeat the chances of the first.
        seed=wanted.seed + 1_000_003 * wanted.start,
        batch_size=wanted.settings.batch_size,
    )
    found: dict[int, list[Drawn]] = {}
    for one in sampling.generate(answering.roles, items, config, answering.role):
        found.setdefault(int(one.prompt_key.removeprefix("prompt-")), []).append(one)
    return found


def _known(
    context: JobContext, answering: Answering, prompts: Sequence[Prompt], wanted: Draw
) -> dict[int, list[Completion]]:
    query = (
        select(Completion)
        .where(
            Completion.prompt_id.in_([prompt.id for prompt in prompts]),
            Completion.source_key == wanted.source_key(answering.checkpoint),
            Completion.sample_index >= wanted.start,
            Completion.sample_index < wanted.start + wanted.count,
        )
        .order_by(Completion.prompt_id, Completion.sample_index)
    )
    found: dict[int, list[Completion]] = {}
    with context.database.reader() as session:
        for row in session.scalars(query):
            found.setdefault(row.prompt_id, []).append(row)
    return found


def _row(answering: Answering, prompt: Prompt, drawn: Drawn, wanted: Draw) -> Completion:
    return Completion(
        project_id=prompt.project_id,
        prompt_id=prompt.id,
        checkpoint_id=answering.checkpoint.id,
        source=answering.checkpoint.name,
        text=drawn.text.replace("\x00", "\N{REPLACEMENT CHARACTER}"),  # PostgreSQL stores none
        token_ids=list(drawn.token_ids),
        is_finished=drawn.finish_reason == "eos",
        finish_reason=drawn.finish_reason,
        logprob_sum=drawn.logprob_sum,
        sampling=_sampling_json(wanted),
    )


def _sampling_json(wanted: Draw) -> Mapping[str, Any]:
    return asdict(wanted.settings) | {"seed": wanted.seed}


def _ids(answering: Answering, prompt: Prompt) -> tuple[int, ...]:
    tokenizer = answering.roles.loaded.tokenizer
    return texts.prompt_ids(tokenizer, prompt.messages, answering.instruction)
