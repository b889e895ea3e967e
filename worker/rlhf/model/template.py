"""Conversations as text and token ids: the model's chat template, or a plain one.

A prompt is rendered once and stored. A response is tokenized separately and appended to the
prompt's ids in every loop, because tokens across the boundary could merge otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jinja2
from transformers import PreTrainedTokenizerBase

from worker.rlhf.model import chat_options
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.models import LoadedModel

Speaker = Literal["system", "user", "assistant"]

PLAIN_NAMES: dict[Speaker, str] = {"system": "System", "user": "User", "assistant": "Assistant"}
PLAIN_STOPS = tuple(f"\n\n{name}:" for name in PLAIN_NAMES.values())
"""What ends a response where the plain template is continued as text: the next turn."""
MARKERS: dict[Speaker, str] = {
    "system": "<|system|>",
    "user": "<|user|>",
    "assistant": "<|assistant|>",
}
STARTER_CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""For the starter model's tokenizer, which has a token for each role marker."""


class UnfitPrompt(ValueError):
    """The chat template refuses a conversation; the message is the template's own."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation."""

    role: Speaker
    content: str


def render_prompt(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[ChatMessage],
    options: ChatOptions = chat_options.DEFAULT,
) -> str:
    """Render a conversation up to the start of the assistant's response.

    A system turn that the template refuses, or ignores without a word, is put in front of the turn
    that follows it, or the prompt is refused, as the options say. Text that spells out a special
    token is broken up, so that no message can imitate another role.

    Raises:
        UnfitPrompt: the template or the options refuse the conversation.
        ValueError: if there is no message or the last one is the assistant's.
    """
    if not messages:
        raise ValueError("a prompt needs at least one message")
    if messages[-1].role == "assistant":
        raise ValueError(
            "the prompt ends with the assistant's message; there is no turn to complete"
        )
    safe = [ChatMessage(m.role, _neutral(tokenizer, m.content)) for m in messages]
    if tokenizer.chat_template is None:
        return plain(safe)
    if safe[0].role != "system" or len(safe) < 2:
        return _from_chat_template(tokenizer, safe, options)
    problem = _system_problem(tokenizer, safe, options)
    if problem is None:
        return _from_chat_template(tokenizer, safe, options)
    if not options.folds_system:
        raise UnfitPrompt(f"the chat template has no system turn ({problem})")
    return _from_chat_template(tokenizer, _without_system(safe), options)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a rendered prompt, with the BOS token if the tokenizer adds one."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos_id = tokenizer.bos_token_id
    adds_bos = bos_id is not None and tokenizer("")["input_ids"][:1] == [bos_id]
    return [bos_id, *ids] if adds_bos and ids[:1] != [bos_id] else ids


def encode_response(loaded: LoadedModel, text: str, *, finished: bool) -> list[int]:
    """Return the ids of a response alone, with the model's end token only if it is finished.

    Special tokens spelled out in the text are encoded as ordinary text.
    """
    ids: list[int] = loaded.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]
    return [*ids, loaded.end_id] if finished else ids


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the special tokens: those with a role, and those that are only marked as special."""
    marked = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *marked]))


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], kept: str = "") -> str:
    """Return the text of a response, without special tokens except one that is `kept`.

    The end of reasoning must stay in the text, also where it is a special token.
    """
    if kept and kept in special_tokens(tokenizer):
        mark: Any = tokenizer.convert_tokens_to_ids(kept)
        if mark in ids:
            at = max(n for n, token_id in enumerate(ids) if token_id == mark)
            before, after = decode(tokenizer, ids[:at], kept), decode(tokenizer, ids[at + 1 :])
            return before + kept + after
    text = tokenizer.decode(list(ids), skip_special_tokens=True)
    assert isinstance(text, str)
    return text


def _from_chat_template(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[ChatMessage], options: ChatOptions
) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    arguments: dict[str, Any] = dict(options.arguments)
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, **arguments
        )
    except (jinja2.TemplateError, TypeError) as error:
        # A TypeError comes from a template that treats the turns in another order or an argument
        # in a way that its values do not allow.
        raise UnfitPrompt(str(error)) from error
    assert isinstance(text, str)
    return text


def _system_problem(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[ChatMessage], options: ChatOptions
) -> str | None:
    """Return why the template cannot take the system turn, or None if it can.

    A conversation that is refused without its system turn too has another fault.
    """
    without = _from_chat_template(tokenizer, messages[1:], options)
    try:
        rendered = _from_chat_template(tokenizer, messages, options)
    except UnfitPrompt as error:
        return str(error)
    is_ignored = rendered == without and messages[0].content.strip()
    return "it ignores it" if is_ignored else None


def plain(messages: Sequence[ChatMessage]) -> str:
    """Render messages for a model without a chat template, up to the start of its response."""
    turns = [f"{PLAIN_NAMES[message.role]}: {message.content}\n\n" for message in messages]
    return "".join(turns) + f"{PLAIN_NAMES['assistant']}:"


def _without_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    system, first, *others = messages
    return [ChatMessage(first.role, f"{system.content}\n\n{first.content}"), *others]


def _neutral(tokenizer: PreTrainedTokenizerBase, content: str) -> str:
    for token in special_tokens(tokenizer):
        if len(token) > 1 and token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content
