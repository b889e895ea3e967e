"""Prompts and completions of rows as token ids, the same in every run.

A sampled completion keeps the ids that were drawn. A foreign one is tokenised alone and put after
the prompt's ids, with the end token only if it is finished.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from app.formats.training_rows import JudgedCompletion
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import models, template
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import ChatMessage


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], instruction: str
) -> tuple[int, ...]:
    """Return a prompt's ids: the project's instruction joined to its turns."""
    turns = [ChatMessage(turn["role"], turn["content"]) for turn in messages]
    text = template.render_prompt(tokenizer, turns, instruction=instruction.strip() or None)
    return tuple(template.encode_prompt(tokenizer, text))


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, candidate: JudgedCompletion, *, is_ours: bool
) -> tuple[int, ...]:
    """Return a completion's ids: as sampled, or tokenised alone where they are not of this model.

    Args:
        tokenizer: of the model in use.
        candidate: the completion.
        is_ours: whether its ids were drawn with this very tokenizer.

    """
    if is_ours and candidate.token_ids:
        return candidate.token_ids
    ids = template.encode_response(tokenizer, candidate.text, finished=candidate.is_finished)
    return tuple(ids) or (int(tokenizer.eos_token_id),)


def that_fit(items: Sequence[PromptItem], roles: Roles, new_tokens: int) -> list[PromptItem]:
    """Return the prompts that leave room for an answer of that length in the model's context."""
    limit = models.context_tokens(roles.causal)
    return [item for item in items if limit is None or len(item.prompt_ids) + new_tokens <= limit]


def without_room(
    what: str, items: Sequence[PromptItem], kept: Sequence[PromptItem], roles: Roles, tokens: int
) -> str | None:
    """Say that none of some prompts leaves room for an answer; None where one does, or none is.

    Args:
        what: the prompts are for, as in "training".
        items: all of them.
        kept: those that leave room.
        roles: of the model.
        tokens: of the answer.

    """
    if kept or not items:
        return None
    shortest = min(len(item.prompt_ids) for item in items)
    return (
        f"none of the {len(items)} {what} prompts leaves room for {tokens} new tokens: the model's "
        f"context has {models.context_tokens(roles.causal)} tokens, the shortest prompt {shortest}"
    )
