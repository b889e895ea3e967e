"""Prompts and completions of rows as token ids, the same in every run.

A sampled completion keeps the ids that were sampled. Any other is tokenized alone and appended to
the prompt's ids, with the model's end token only if it is finished.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from app.domain import instruction_text
from app.formats.training_rows import JudgedCompletion
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import models, template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import ChatMessage, Speaker


def prompt_ids(
    loaded: LoadedModel, messages: Sequence[Mapping[str, Any]], instruction: str
) -> tuple[int, ...]:
    """Return the ids of a prompt's turns, with the project's instruction added.

    Raises:
        UnfitPrompt: the chat template refuses the conversation.
    """
    turns = chat_messages(messages, instruction)
    text = template.render_prompt(loaded.tokenizer, turns, loaded.chat)
    return tuple(template.encode_prompt(loaded.tokenizer, text))


def readable(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a prompt's turns as people read them: a single one alone, several with who speaks."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in messages)


def chat_messages(
    messages: Sequence[Mapping[str, Any]], instruction: str
) -> tuple[ChatMessage, ...]:
    """Return a prompt's turns with the project's instruction in the system turn."""
    turns = [(turn["role"], turn["content"]) for turn in messages]
    whole = instruction_text.as_system(turns, instruction_text.normalized(instruction))
    return tuple(ChatMessage(cast(Speaker, role), content) for role, content in whole)


def conversations(
    loaded: LoadedModel,
    prompts: Iterable[Sequence[Mapping[str, Any]]],
    instruction: str,
) -> dict[tuple[int, ...], tuple[ChatMessage, ...]]:
    """Return the turns of prompts by their token ids, with the project's instruction added."""
    return {
        prompt_ids(loaded, messages, instruction): chat_messages(messages, instruction)
        for messages in prompts
    }


def completion_ids(
    loaded: LoadedModel, candidate: JudgedCompletion, *, is_ours: bool
) -> tuple[int, ...]:
    """Return a completion's ids: as sampled, or tokenized alone if not sampled by this model.

    Args:
        loaded: the model in use.
        candidate: the completion.
        is_ours: whether its ids come from this tokenizer.

    """
    if is_ours and candidate.token_ids:
        return candidate.token_ids
    ids = template.encode_response(loaded, candidate.text, finished=candidate.is_finished)
    return tuple(ids) or (loaded.end_id,)


def that_fit(items: Sequence[PromptItem], roles: Roles, new_tokens: int) -> list[PromptItem]:
    """Return the prompts that leave room for that many new tokens in the model's context."""
    limit = models.context_tokens(roles.causal)
    return [item for item in items if limit is None or len(item.prompt_ids) + new_tokens <= limit]


def without_room(
    what: str, items: Sequence[PromptItem], kept: Sequence[PromptItem], roles: Roles, tokens: int
) -> str | None:
    """Return a message if no prompt leaves room for a completion; None if one does, or none exists.

    Args:
        what: the use of the prompts, as in "training".
        items: all of them.
        kept: those that leave room.
        roles: of the model.
        tokens: the completion's length.

    """
    if kept or not items:
        return None
    shortest = min(len(item.prompt_ids) for item in items)
    return (
        f"none of the {len(items)} {what} prompts leaves room for {tokens} new tokens: the model's "
        f"context has {models.context_tokens(roles.causal)} tokens, the shortest prompt {shortest}"
    )
