"""The models of a chat in memory: one or two that write, and one that scores.

Models on the same base share it, each with an adapter of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from app.domain.chat_settings import ChatSettings
from app.domain.plan import Sampling
from app.errors import Invalid
from app.models import Checkpoint
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.model import models, saving, template
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.reward import reasoning, scoring
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.runs.data import checkpoint_weights
from worker.runs.process.job_context import JobContext
from worker.training import model_check, screening, token_ids

Show = Callable[[str, int], bool]
"""Takes the text so far and its number of tokens; True stops it there."""


@dataclass(frozen=True, slots=True)
class WrittenReply:
    """A response with its score, and what must be said about it."""

    text: str
    tokens: int
    score: float | None
    note: str


@dataclass(frozen=True, slots=True)
class ChatModels:
    """What a chat needs in memory.

    Attributes:
        sides: the base with its adapters, and the role, of each side.
        reward: the base of the reward model, and the reward, if one was chosen.
        instruction: in the system turn.
    """

    sides: tuple[tuple[Roles, str], ...]
    reward: tuple[Roles, RewardFunction] | None
    instruction: str

    def write(
        self,
        side: int,
        messages: Sequence[Mapping[str, Any]],
        settings: Sampling,
        seed: int,
        show: Show,
    ) -> WrittenReply:
        """Write a response, showing it as it grows.

        Raises:
            Invalid: the conversation leaves no room for a response.
        """
        roles, role = self.sides[side]
        ids = token_ids.prompt_ids(roles.loaded, messages, self.instruction)
        room = _room(roles, ids, settings.max_new_tokens)
        config = SamplingConfig(
            max_new_tokens=room,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=seed,
        )

        def watch(tokens: Tensor) -> bool:
            so_far = tokens[0].tolist()
            ended = so_far[-1] in roles.loaded.end_ids
            shown = so_far[:-1] if ended else so_far
            mark = roles.loaded.chat.thought_end
            return show(template.decode(roles.loaded.tokenizer, shown, mark), len(so_far))

        [drawn] = sampling.generate(roles, [PromptItem("chat", ids)], config, role, watch=watch)
        is_cut = drawn.finish_reason == "length" and len(drawn.token_ids) == room
        return WrittenReply(
            drawn.text,
            len(drawn.token_ids),
            self._score(roles, messages, ids, drawn),
            _note(room, settings.max_new_tokens) if is_cut else "",
        )

    def _score(
        self,
        roles: Roles,
        messages: Sequence[Mapping[str, Any]],
        prompt_ids: Sequence[int],
        drawn: SampledCompletion,
    ) -> float | None:
        if self.reward is None or not drawn.token_ids:
            return None
        base, reward = self.reward
        completion: Sequence[int] = drawn.token_ids
        if base is not roles:  # another tokenizer, perhaps
            loaded = base.loaded
            prompt_ids = token_ids.prompt_ids(loaded, messages, self.instruction)
            finished = drawn.finish_reason == "eos"
            completion = template.encode_response(loaded, drawn.text, finished=finished)
        if not completion:
            return None
        scores = scoring.score(reward, prompt_ids, [completion])
        return float(scores.normalized[0])


@dataclass(slots=True)
class _Bases:
    """Full models in memory, each loaded once."""

    context: JobContext
    chat: ChatSettings
    loaded: dict[int, Roles] = field(default_factory=dict)

    def under(self, checkpoint: Checkpoint) -> Roles:
        """Return the base that a checkpoint builds on."""
        with self.context.database.reader() as session:
            whole = checkpoint_weights.layers(session, checkpoint).whole
        if whole.id not in self.loaded:
            origin = checkpoint_weights.source(self.context, whole)
            options = screening.options_of(self.chat)
            model = models.load(origin, device=self.context.device, chat=options)
            checkpoint_weights.describe_base(self.context, whole, model)
            roles = Roles(model)
            model_check.guard(roles, origin)
            self.loaded[whole.id] = roles
        return self.loaded[whole.id]


def load(
    context: JobContext,
    sides: Sequence[Checkpoint],
    reward: Checkpoint | None,
    instruction: str,
    chat: ChatSettings,
) -> ChatModels:
    """Load the models of a chat.

    Raises:
        Invalid: the base of one is not recorded.
    """
    bases = _Bases(context, chat)
    writing = tuple(_side(context, bases, one, n) for n, one in enumerate(sides))
    scorer: tuple[Roles, RewardFunction] | None = None
    if reward is not None:
        roles = bases.under(reward)
        names, normaliser = checkpoint_weights.add_reward(context, roles, reward)
        learned = AdapterReward(roles, names, scoring.probe(roles), normaliser)
        scorer = (roles, reasoning.ignoring(learned, roles.loaded))
    return ChatModels(writing, scorer, instruction)


def _side(context: JobContext, bases: _Bases, checkpoint: Checkpoint, n: int) -> tuple[Roles, str]:
    roles = bases.under(checkpoint)
    if checkpoint_weights.is_whole(checkpoint):
        return roles, BASE
    role = f"side-{n}"
    saving.load_policy(roles, checkpoint_weights.fetch(context, checkpoint), role)
    return roles, role


def _room(roles: Roles, prompt_ids: Sequence[int], wanted: int) -> int:
    """Return how many tokens a response may have.

    Raises:
        Invalid: none.
    """
    limit = models.context_tokens(roles.causal)
    if limit is None:
        return wanted
    if len(prompt_ids) >= limit:
        raise Invalid(
            f"the conversation has {len(prompt_ids)} tokens and the model's context {limit}, so "
            "there is no room for a response; start a new chat"
        )
    return min(wanted, limit - len(prompt_ids))


def _note(room: int, wanted: int) -> str:
    if room < wanted:
        return (
            f"Cut off after {room} tokens, because the model's context is full; start a new chat."
        )
    return f"Cut off after {room} tokens; raise the maximum in the sampling settings of a new chat."
