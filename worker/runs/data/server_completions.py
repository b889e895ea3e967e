"""Completions of a model behind a server, as rows.

They have no token ids; for training they are tokenized like completions from files. The key of a
completion is the server's model, the settings and its number.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.domain import allowed_servers
from app.domain.chat_settings import ChatSettings
from app.domain.instruction_text import InstructionText
from app.domain.plan import Sampling
from app.domain.server_plan import ServerPlan
from app.errors import Invalid, Unavailable
from app.models import Completion, Prompt
from app.services.rounds.prompt_selection import SERVED
from worker.rlhf.model import template
from worker.rlhf.sampling.engines import EnginePrompt, GeneratedCompletion
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.server import Server, ServerConfig, ServerUnavailable
from worker.runs.data import sampled_completions
from worker.runs.process.job_context import JobContext
from worker.training import conversations, token_ids
from worker.training.conversations import Question, Response, Turns

DEFAULT_CHAT = ChatSettings()


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """A server, and the completions to request from it."""

    server: ServerPlan
    sampling: Sampling
    seed: int
    instruction: InstructionText
    chat: ChatSettings = field(default_factory=ChatSettings)

    @property
    def source_key(self) -> str:
        """The key of the rows of this model and these settings."""
        text = json.dumps([self.settings, self.instruction.text, self.server.url], sort_keys=True)
        return f"{SERVED}{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a row records of its sampling."""
        drawing = {
            k: v for k, v in asdict(self.sampling).items() if k not in sampled_completions.HOW
        }
        how = {"model": self.server.model, "is_chat": self.server.is_chat, "seed": self.seed}
        arguments = dict(self.chat.template_arguments)
        return drawing | how | ({"template_arguments": arguments} if arguments else {})


def draw(
    context: JobContext, prompts: Sequence[Prompt], wanted: ServerRequest
) -> Iterator[list[Completion]]:
    """Yield the completions of each chunk of prompts, in order; existing ones are read.

    Raises:
        Invalid: the worker may not call this server, or the server refused.
        Unavailable: the server did not respond.
    """
    numbers = range(wanted.server.candidates)
    with Server(config_of(context, wanted.server, wanted.chat)) as server:
        for at in range(0, len(prompts), sampled_completions.CHUNK_PROMPTS):
            chunk = prompts[at : at + sampled_completions.CHUNK_PROMPTS]
            existing = sampled_completions.known(context, chunk, wanted.source_key, numbers)
            todo = [prompt for prompt in chunk if len(existing.get(prompt.id, ())) < len(numbers)]
            if todo:
                sampled_completions.store(context, wanted.source_key, _ask(server, todo, wanted))
                existing = sampled_completions.known(context, chunk, wanted.source_key, numbers)
            yield [row for prompt in chunk for row in existing.get(prompt.id, ())]


def config_of(
    context: JobContext, plan: ServerPlan, chat: ChatSettings = DEFAULT_CHAT
) -> ServerConfig:
    """Return how to call the plan's server.

    Raises:
        Invalid: it is not among those that this worker may call.
    """
    allowed_servers.check_completions(plan.url, context.servers.urls)
    return ServerConfig(
        plan.url,
        plan.model,
        is_chat=plan.is_chat,
        concurrency=plan.concurrency,
        api_key=context.servers.key,
        template_arguments=chat.template_arguments,
    )


def _ask(server: Server, prompts: Sequence[Prompt], wanted: ServerRequest) -> list[Completion]:
    by_key = {f"prompt-{prompt.content_hash}": prompt for prompt in prompts}
    questions = [
        Question(key, prompt.messages, tuple(prompt.follow_up)) for key, prompt in by_key.items()
    ]
    config = SamplingConfig(
        n=wanted.server.candidates,
        max_new_tokens=wanted.sampling.max_new_tokens,
        temperature=wanted.sampling.temperature,
        top_p=wanted.sampling.top_p,
        top_k=wanted.sampling.top_k,
        seed=wanted.seed,
    )

    def render(key: str, turns: Turns) -> EnginePrompt:
        return _rendered(key, turns, wanted.instruction.text)

    thought_end = wanted.chat.thought_end
    try:
        return [
            _row(by_key[response.key], response, wanted)
            for response in conversations.respond(server, questions, config, render, thought_end)
        ]
    except ServerUnavailable as error:
        raise Unavailable(str(error)) from error
    except ValueError as error:
        raise Invalid(str(error)) from error


def _rendered(key: str, messages: Turns, instruction: str) -> EnginePrompt:
    turns = token_ids.chat_messages(messages, instruction)
    return EnginePrompt(key, text=template.plain(turns), messages=turns, stops=template.PLAIN_STOPS)


def _row(
    prompt: Prompt, response: Response[GeneratedCompletion], wanted: ServerRequest
) -> Completion:
    return Completion(
        project_id=prompt.project_id,
        prompt_id=prompt.id,
        source=wanted.server.model,
        sample_index=response.sample_index,
        earlier=[dict(turn) for turn in response.earlier],
        text=response.completion.text.replace(
            "\x00", "\N{REPLACEMENT CHARACTER}"
        ),  # PostgreSQL stores none
        is_finished=response.is_finished,
        finish_reason="eos" if response.is_finished else "length",
        sampling=wanted.settings,
        instruction_version=wanted.instruction.version,
    )
