"""Conversations in which a model is asked follow-ups after its own responses, as in MT-Bench.

Each sample of a prompt is a conversation of its own: the first question, the model's response, the
follow-up, and so on. What is sampled, stored and trained is the response to the last follow-up; the
turns before it are its prompt. Earlier responses are asked about without their reasoning, as the
templates of reasoning models render them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from app.domain import chat_settings, earlier_turns
from app.domain.plan import Sampling
from worker.rlhf.model import models
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, REFERENCE, SFT, Roles
from worker.rlhf.sampling import engines
from worker.rlhf.sampling.engines import EnginePrompt, GeneratedCompletion
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import token_ids

Turns = Sequence[Mapping[str, Any]]
Completed = TypeVar("Completed", bound=GeneratedCompletion, covariant=True)


class TurnEngine(Protocol[Completed]):
    """Samples completions of prompts, as `engines.CompletionEngine`."""

    def generate(
        self, prompts: Sequence[EnginePrompt], config: SamplingConfig
    ) -> Iterator[Completed]:
        """Yield `config.n` completions of every prompt."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and the user turns that are asked after the model's own responses."""

    key: str
    messages: Turns
    follow_up: tuple[str, ...] = ()

    @property
    def skeleton(self) -> Turns:
        """All turns, with a placeholder for each of the model's own responses."""
        return earlier_turns.to_ask(self.messages, self.follow_up)


@dataclass(frozen=True, slots=True)
class Response(Generic[Completed]):
    """The completion of the last turn, with the turns between the prompt and it.

    `sample_index` numbers the conversations of a prompt. One that `is_cut` has a response before
    the last that ended at the length limit.
    """

    key: str
    sample_index: int
    earlier: tuple[Mapping[str, str], ...]
    completion: Completed
    is_cut: bool

    @property
    def is_finished(self) -> bool:
        """Whether all responses ended by themselves."""
        return self.completion.finish_reason == "eos" and not self.is_cut


def respond(
    engine: TurnEngine[Completed],
    questions: Sequence[Question],
    config: SamplingConfig,
    render: Callable[[str, Turns], EnginePrompt | None],
    thought_end: str = "",
) -> Iterator[Response[Completed]]:
    """Yield `config.n` responses to every question, after own responses to its earlier turns.

    Args:
        engine: samples.
        questions: to ask.
        config: of every turn.
        render: returns a prompt of turns under a key, or None if they leave no room.
        thought_end: ends the reasoning of earlier responses, which is left out.

    """
    by_key = {question.key: question for question in questions}
    rendered = (render(question.key, question.messages) for question in questions)
    asked = [prompt for prompt in rendered if prompt is not None]
    waiting: list[Response[Completed]] = []
    for drawn in engine.generate(asked, config):
        first = Response(drawn.prompt_key, drawn.sample_index, (), drawn, is_cut=False)
        if by_key[first.key].follow_up:
            waiting.append(first)
        else:
            yield first
    for turn in range(max((len(question.follow_up) for question in questions), default=0)):
        prompts: list[EnginePrompt] = []
        before: dict[str, Response[Completed]] = {}
        for response in waiting:
            question = by_key[response.key]
            earlier = _continued(response, question.follow_up[turn], thought_end)
            key = f"{response.key}/turn-{turn + 2}/{response.sample_index}"
            prompt = render(key, [*question.messages, *earlier])
            if prompt is not None:
                prompts.append(prompt)
                before[key] = replace(response, earlier=earlier, is_cut=not response.is_finished)
        waiting = []
        for drawn in engine.generate(prompts, replace(config, n=1)):
            response = replace(before[drawn.prompt_key], completion=drawn)
            if turn + 1 < len(by_key[response.key].follow_up):
                waiting.append(response)
            else:
                yield response


def asked_by_start_model(
    roles: Roles, questions: Sequence[Question], instruction: str, settings: Sampling, seed: int
) -> list[tuple[str, Turns]]:
    """Return each question's turns up to its last follow-up, by key, in order.

    The responses before it are sampled once, by the model that training starts from, so that a run
    that resumes trains on the same prompts. A conversation that leaves no room for a response ends
    where that is so; who trains on it leaves it out.
    """
    several = [question for question in questions if question.follow_up]
    whole: dict[str, Turns] = {question.key: question.messages for question in questions}
    if several:
        config = config_of(settings, seed)
        role = REFERENCE if roles.has_adapter(SFT) else BASE
        engine = engines.in_memory("static", roles, role)

        def render(key: str, turns: Turns) -> EnginePrompt | None:
            whole[key.partition("/turn-")[0]] = turns
            return prompt_of(roles, key, turns, instruction, settings.max_new_tokens)

        before_last = [replace(one, follow_up=one.follow_up[:-1]) for one in several]
        last = {one.key: one.follow_up[-1] for one in several}
        thought_end = roles.loaded.chat.thought_end
        for response in respond(engine, before_last, config, render, thought_end):
            turns = _continued(response, last[response.key], thought_end)
            whole[response.key] = [*_question(several, response.key).messages, *turns]
    return list(whole.items())


def remarks(follow_ups: Sequence[int]) -> list[str]:
    """Say how prompts with follow-ups are trained on, given the number of each prompt's."""
    count = sum(number > 0 for number in follow_ups)
    if not count:
        return []
    return [
        f"{count} of {len(follow_ups)} training prompts have follow-ups: the policy learns to "
        "respond to the last one, after responses to the turns before it that were sampled once by "
        "the model that training starts from"
    ]


def config_of(settings: Sampling, seed: int, *, n: int = 1) -> SamplingConfig:
    """Return the settings of the sampler."""
    return SamplingConfig(
        n=n,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        seed=seed,
        batch_size=settings.batch_size,
    )


def prompt_of(
    roles: Roles, key: str, turns: Turns, instruction: str, new_tokens: int
) -> EnginePrompt | None:
    """Return turns as a prompt of a model in memory, or None if they leave no room."""
    ids = token_ids.prompt_ids(roles.loaded, turns, instruction)
    limit = models.context_tokens(roles.causal)
    has_room = limit is None or len(ids) + new_tokens <= limit
    return EnginePrompt(key, ids) if has_room else None


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """What completions share of their prompts, and what is left of each prompt.

    Completions of a follow-up have a prompt each, which begin alike. `leads` is empty if nothing is
    left of any.
    """

    prompt_ids: tuple[int, ...]
    leads: tuple[tuple[int, ...], ...] = ()

    def whole(self, completions: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        """Return completions behind what is left of their prompts."""
        if not self.leads:
            return tuple(completions)
        return tuple(lead + ids for lead, ids in zip(self.leads, completions, strict=True))


def shared_prompt(
    loaded: LoadedModel, messages: Turns, instruction: str, earlier: Sequence[Turns]
) -> SharedPrompt:
    """Return the ids that the prompts of completions share, given the turns before each.

    Raises:
        UnfitPrompt: the chat template refuses a conversation.
    """
    if not any(earlier):
        return SharedPrompt(token_ids.prompt_ids(loaded, messages, instruction))
    own = [token_ids.prompt_ids(loaded, [*messages, *turns], instruction) for turns in earlier]
    same = 0
    shortest = min(map(len, own))
    while same < shortest and len({ids[same] for ids in own}) == 1:
        same += 1
    same = max(same, 1)  # a prompt has a token; without a BOS token, turns begin with the same one
    return SharedPrompt(own[0][:same], tuple(ids[same:] for ids in own))


def _continued(
    response: Response[Completed], follow_up: str, thought_end: str
) -> tuple[Mapping[str, str], ...]:
    text = response.completion.text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    said = chat_settings.without_reasoning(text, thought_end)
    return (*response.earlier, *earlier_turns.interleaved([said], [follow_up]))


def _question(questions: Sequence[Question], key: str) -> Question:
    return next(question for question in questions if question.key == key)
