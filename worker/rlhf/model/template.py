"""Conversations as text and token ids: the model's chat template, or a plain one.

A prompt is rendered once and stored. A response is tokenized separately and appended to the
prompt's ids in every loop, because tokens across the boundary could merge otherwise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import jinja2
from transformers import PreTrainedTokenizerBase

Speaker = Literal["system", "user", "assistant"]

PLAIN_NAMES: dict[Speaker, str] = {"system": "System", "user": "User", "assistant": "Assistant"}
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


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation."""

    role: Speaker
    content: str


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[ChatMessage]) -> str:
    """Render a conversation up to the start of the assistant's response.

    For a template without system messages, a system message is put in front of the message that
    follows it. Text that spells out a special token is broken up, so that no message can imitate
    another role.

    Raises:
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
    try:
        return _from_chat_template(tokenizer, safe)
    except jinja2.TemplateError:
        if safe[0].role != "system" or len(safe) < 2:
            raise
        return _from_chat_template(tokenizer, _without_system(safe))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a rendered prompt, with the BOS token if the tokenizer adds one."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos_id = tokenizer.bos_token_id
    adds_bos = bos_id is not None and tokenizer("")["input_ids"][:1] == [bos_id]
    return [bos_id, *ids] if adds_bos and ids[:1] != [bos_id] else ids


def encode_response(tokenizer: PreTrainedTokenizerBase, text: str, *, finished: bool) -> list[int]:
    """Return the ids of a response alone, with the EOS token only if it is finished.

    Special tokens spelled out in the text are encoded as ordinary text.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]
    return [*ids, int(tokenizer.eos_token_id)] if finished else ids


def decode(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> str:
    """Return the text of a response, without special tokens."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True)
    assert isinstance(text, str)
    return text


def _from_chat_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[ChatMessage]) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def plain(messages: Sequence[ChatMessage]) -> str:
    """Render messages for a model without a chat template, up to the start of its response."""
    turns = [f"{PLAIN_NAMES[message.role]}: {message.content}\n\n" for message in messages]
    return "".join(turns) + f"{PLAIN_NAMES['assistant']}:"


def _without_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    system, first, *others = messages
    return [ChatMessage(first.role, f"{system.content}\n\n{first.content}"), *others]


def _neutral(tokenizer: PreTrainedTokenizerBase, content: str) -> str:
    for token in tokenizer.all_special_tokens:
        if len(token) > 1 and token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content
