"""The tokens that end a response.

A published model often has several: the EOS token of its tokenizer, the ids of its generation
config (Gemma 3 has two, Llama 3.1 three), and the token with which its chat template closes a turn.
Each of them ends a response wherever one is sampled, trained on or measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jinja2
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

PROBE = "Certainly."
"""A response to render, to see what the template writes after it."""


@dataclass(frozen=True, slots=True)
class EndToken:
    """A token that ends a response."""

    id: int
    token: str


def of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[EndToken, ...]:
    """Return the tokens that end a response; the first is written after a finished one.

    It is the one that the chat template writes, or else the tokenizer's EOS token. Ids beyond the
    vocabulary, which some configurations have, cannot be sampled and are left out.
    """
    return of_files(model.config.get_text_config().vocab_size, model.generation_config, tokenizer)


def of_files(
    vocabulary: int, generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[EndToken, ...]:
    """Return the same from a model's files: its vocabulary size and generation config."""
    ids = dict.fromkeys(
        int(token_id)
        for token_id in (turn_end(tokenizer), tokenizer.eos_token_id, *_of_generation(generation))
        if token_id is not None and 0 <= token_id < vocabulary
    )
    return tuple(EndToken(token_id, _name(tokenizer, token_id)) for token_id in ids)


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the token with which the chat template closes the assistant's turn, if any."""
    if tokenizer.chat_template is None:
        return None
    talk = [{"role": "user", "content": "May I?"}, {"role": "assistant", "content": PROBE}]
    try:
        text = str(tokenizer.apply_chat_template(talk, tokenize=False))
    except jinja2.TemplateError:
        return None
    _, is_there, after = text.rpartition(PROBE)
    after = after.lstrip()
    if not is_there:
        return None
    named = _single_tokens(tokenizer)
    written = [token for token in named if after.startswith(token)]
    return named[max(written, key=len)] if written else None


def make_known(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: tuple[EndToken, ...]
) -> None:
    """Make plain transformers stop at all of them, and let no text contain them.

    Saved models carry the generation config, and a token that is marked as special is left out of
    decoded text and cannot be written by a user.
    """
    ids = [end.id for end in ends]
    if model.generation_config is not None:
        model.generation_config.eos_token_id = ids if len(ids) > 1 else ids[0]
    hidden = set(tokenizer.all_special_tokens)
    added = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    shown = [end.token for end in ends if end.token not in hidden and end.token in added]
    if shown:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": shown}, replace_extra_special_tokens=False
        )


def generation_config(
    ends: tuple[EndToken, ...], pad_id: int, decoder_prefix: tuple[int, ...] = ()
) -> GenerationConfig:
    """Return the generation config to store beside an adapter, whose base may lack an end.

    It replaces the base's, so it also says how a decoder begins: with a start token and, in some
    models, a forced first one.
    """
    ids = [end.id for end in ends]
    names = ("decoder_start_token_id", "forced_bos_token_id")
    starts: dict[str, Any] = dict(zip(names, decoder_prefix, strict=False))
    return GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=ids if len(ids) > 1 else next(iter(ids), None), pad_token_id=pad_id, **starts
    )


def _of_generation(config: GenerationConfig | None) -> Iterator[int]:
    ids = None if config is None else config.eos_token_id
    if isinstance(ids, int):
        yield ids
    elif ids is not None:
        yield from (int(token_id) for token_id in ids)


def _single_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the tokens that are never split, with their ids."""
    named = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    special = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return named | dict(special)


def _name(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    token = tokenizer.convert_ids_to_tokens(token_id)
    return str(token) if token is not None else f"#{token_id}"
