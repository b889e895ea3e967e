"""Conversations as text and token ids: the model's chat template, or a plain one of ours.

A prompt is rendered once and stored; a response is tokenised alone and put after the prompt's ids,
the same way in every loop, because tokens across the seam could otherwise merge.
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
"""For tokenizers trained here, which have a token for each role marker."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Speaker
    content: str


def render_prompt(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    instruction: str | None = None,
) -> str:
    """Render a conversation up to where the assistant's answer begins.

    The instruction goes first as the system's turn. A template that knows no system's turn gets it
    in front of the first user turn. Text that spells a special token is broken up, so that nobody
    can speak as somebody else.

    Raises:
        ValueError: if there is no message or the assistant has the last word.
    """
    if not messages:
        raise ValueError("a prompt needs at least one message")
    if messages[-1].role == "assistant":
        raise ValueError("a prompt ends with the assistant's message; there is nothing to answer")
    safe = [Message(m.role, _neutral(tokenizer, m.content)) for m in messages]
    system = [] if instruction is None else [Message("system", _neutral(tokenizer, instruction))]
    if tokenizer.chat_template is None:
        return plain([*system, *safe])
    try:
        return _from_chat_template(tokenizer, [*system, *safe])
    except jinja2.TemplateError:
        if not system:
            raise
        return _from_chat_template(tokenizer, _in_first_turn(system[0].content, safe))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a rendered prompt, with the beginning token if the model has one in use."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    begins = tokenizer.bos_token_id
    wanted = begins is not None and tokenizer("")["input_ids"][:1] == [begins]
    return [begins, *ids] if wanted and ids[:1] != [begins] else ids


def encode_response(tokenizer: PreTrainedTokenizerBase, text: str, *, finished: bool) -> list[int]:
    """Return the ids of a response alone, with the end token only if it is finished.

    Special tokens spelled out in the text are encoded as the text they are.
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


def _from_chat_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def plain(messages: Sequence[Message]) -> str:
    """Lay out turns for a model without a template of its own, up to where it answers."""
    turns = [f"{PLAIN_NAMES[message.role]}: {message.content}\n\n" for message in messages]
    return "".join(turns) + f"{PLAIN_NAMES['assistant']}:"


def _in_first_turn(instruction: str, messages: Sequence[Message]) -> list[Message]:
    first = messages[0]
    return [Message(first.role, f"{instruction}\n\n{first.content}"), *messages[1:]]


def _neutral(tokenizer: PreTrainedTokenizerBase, content: str) -> str:
    for token in tokenizer.all_special_tokens:
        if len(token) > 1 and token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content
