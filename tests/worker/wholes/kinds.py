"""Kinds of base models that people bring, as random models in folders.

Each has the architecture, the tokens and the generation config of published ones, in a size that
takes seconds, and what is particular about it in use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from app.domain.chat_settings import ChatSettings
from tests.worker.rlhf import chat_models
from tests.worker.runs import small

THOUGHT_END: Final = "</think>"
SECOND_QUESTION: Final = "And twice that?"
ONLY_SPECIAL: Final = "<|endoftext|>"
HEADERS: Final = chat_models.FAMILIES["headers"]
TWO_ENDS: Final = replace(HEADERS, generation=("</s>", "<|eot_id|>"), ends=("<|eot_id|>", "</s>"))
LONG: Final = 512  # positions


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of base model: how one is made, and what is expected of the models made of it."""

    name: str
    save: Callable[[Path], Path]
    ends: tuple[str, ...]
    chat: ChatSettings = field(default_factory=ChatSettings)
    auto_class: Any = AutoModelForCausalLM
    has_follow_ups: bool = False
    reasoning: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The chat settings as options of commands."""
        arguments = (f"{key}={value}" for key, value in self.chat.template_arguments.items())
        options = [text for argument in arguments for text in ("--template-argument", argument)]
        mark = ("--thought-end", self.chat.thought_end) if self.chat.thought_end else ()
        return (*options, *mark)

    def response(self, number: int) -> str:
        """Return what a person or a model might respond to `question`."""
        return f"{self.reasoning}It is {number * number}."

    def question(self, number: int) -> Mapping[str, Any]:
        """Return a prompt as a row of a file; with a follow-up it is a question of MT-Bench."""
        if not self.has_follow_ups:
            return {"prompt": f"What is {number}?"}
        turns = [f"What is {number}?", SECOND_QUESTION]
        return {"question_id": number, "category": "math", "turns": turns}


def save_gpt2(folder: Path) -> Path:
    """Save a GPT-2 whose one special token begins and ends texts; no padding, no template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, ONLY_SPECIAL])}
    bytewise = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bytewise,
        bos_token=ONLY_SPECIAL,
        eos_token=ONLY_SPECIAL,
        unk_token=ONLY_SPECIAL,
        model_max_length=LONG,
    )
    end = vocabulary[ONLY_SPECIAL]
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=LONG,
        initializer_range=0.2,
        bos_token_id=end,
        eos_token_id=end,
    )
    return _save(folder, lambda: GPT2LMHeadModel(config), tokenizer)


def save_two_ends(folder: Path) -> Path:
    """Save a Llama whose turns end with one token and whose texts end with another."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = TWO_ENDS.loaded()
    made.model.save_pretrained(folder)
    TWO_ENDS.tokenizer().save_pretrained(folder)
    return folder


def save_gemma(folder: Path) -> Path:
    """Save a Gemma 3 with a window, whose template has no system turn and wants turns in turn."""
    family = chat_models.FAMILIES["alternating"]
    config = Gemma3TextConfig(
        **_shape(family.tokenizer()),
        sliding_window=64,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
    )
    return _save(folder, lambda: Gemma3ForCausalLM(config), family.tokenizer(), family.generation)


def save_qwen3(folder: Path) -> Path:
    """Save a Qwen3 that thinks before it responds: it writes the end of reasoning often."""
    family = chat_models.FAMILIES["thinking"]
    tokenizer = family.tokenizer()
    config = Qwen3Config(**_shape(tokenizer), tie_word_embeddings=False)

    def make() -> PreTrainedModel:
        model = Qwen3ForCausalLM(config)
        mark = tokenizer.convert_tokens_to_ids(THOUGHT_END)
        with torch.no_grad():  # a constant in the hidden states makes one logit high everywhere
            model.model.embed_tokens.weight[:, 0] = 4.0
            model.lm_head.weight[:, 0] = 0.0
            model.lm_head.weight[mark, 0] = 4.0
        return model

    return _save(folder, make, tokenizer, family.generation)


def _shape(tokenizer: PreTrainedTokenizerFast) -> Mapping[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": LONG,
        "initializer_range": 0.2,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _save(
    folder: Path,
    make: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerFast,
    ends: tuple[str, ...] = (),
) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
    if ends:
        numbers = [tokenizer.convert_tokens_to_ids(token) for token in ends]
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=numbers, pad_token_id=tokenizer.pad_token_id
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("t5", small.save_tiny_t5, ("</s>",), auto_class=AutoModelForSeq2SeqLM),
        Kind("gpt2", save_gpt2, (ONLY_SPECIAL,)),
        Kind("two-ends", save_two_ends, TWO_ENDS.ends),
        Kind(
            "alternating",
            save_gemma,
            chat_models.FAMILIES["alternating"].ends,
            has_follow_ups=True,
        ),
        Kind(
            "thinking",
            save_qwen3,
            chat_models.FAMILIES["thinking"].ends,
            ChatSettings(thought_end=THOUGHT_END),
            reasoning=f"<think>\nWell.\n{THOUGHT_END}\n\n",
        ),
    )
}
