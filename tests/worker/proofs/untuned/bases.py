"""Base models that know nothing but their world: tokenizer, shape and a short training of each.

They are made with plain transformers, as somebody else would have made them, and kept in folders.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.worker.proofs.untuned.worlds import RECIPES, TRAVEL, WEATHER, World

END, PAD, START = "<end>", "<pad>", "<start>"
TEMPLATE: Final = (
    "{% for m in messages %}<start>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant\n{% endif %}"
)
QUESTION: Final = "Question: {}\nAnswer:"
"""Of the model without a chat template; the product's plain template has other words."""

POSITIONS = 512
HELDOUT_SEED = -1
"""Of the prompts that a model is trained on; rounds have seeds from 0."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model and how it is trained.

    Attributes:
        world: whose answers it imitates.
        vocabulary: of its tokenizer at most; the texts may have fewer different words.
        build: makes the model, untrained, for a tokenizer.
        has_template: whether its tokenizer has a chat template.
        texts: to train on.
        batch_size: texts in a step.
        rate: peak learning rate.
        demonstrations: that its project has, for SFT.
    """

    world: World
    vocabulary: int
    build: Callable[[PreTrainedTokenizerFast], PreTrainedModel]
    has_template: bool
    texts: int
    batch_size: int = 32
    rate: float = 2e-3
    demonstrations: int = 0


def _llama(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=5,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=False,
            vocab_size=len(tokenizer),
            **_ids(tokenizer),
        )
    )


def _gpt2(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            n_embd=160,
            n_layer=6,
            n_head=5,
            n_positions=POSITIONS,
            vocab_size=len(tokenizer),
            **_ids(tokenizer),
        )
    )


def _qwen(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=384,
            intermediate_size=768,
            num_hidden_layers=5,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            vocab_size=len(tokenizer),
            **_ids(tokenizer),
        )
    )


def _ids(tokenizer: PreTrainedTokenizerFast) -> Mapping[str, Any]:
    return {
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(END),
        "pad_token_id": tokenizer.convert_tokens_to_ids(PAD),
    }


BASES: Final = {
    base.world.name: base
    for base in (
        Base(RECIPES, 2000, _llama, has_template=True, texts=6000),
        Base(TRAVEL, 800, _gpt2, has_template=False, texts=8000, demonstrations=300),
        Base(WEATHER, 4000, _qwen, has_template=True, texts=4000, rate=1e-3),
    )
}


def saved(base: Base, folder: Path) -> Path:
    """Return the folder of a trained base model; train it unless it is there."""
    if not folder.exists():
        texts = list(_texts(base))
        tokenizer = _tokenizer(base, [prompt + answer for prompt, answer in texts])
        torch.manual_seed(0)
        model = base.build(tokenizer)
        _train(base, model, tokenizer, texts)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        tokenizer.save_pretrained(unfinished)
        model.save_pretrained(unfinished)
        unfinished.rename(folder)
    return folder


def _texts(base: Base) -> Iterator[tuple[str, str]]:
    """Yield rendered prompts with answers and the end."""
    chance = random.Random(base.world.name)
    for prompt in base.world.prompts(base.texts, HELDOUT_SEED):
        answer = base.world.write(prompt, chance)
        if base.has_template:
            yield f"{START}user\n{prompt}{END}\n{START}assistant\n", f"{answer}{END}"
        else:
            yield QUESTION.format(prompt), f" {answer}{END}"


def _tokenizer(base: Base, texts: list[str]) -> PreTrainedTokenizerFast:
    special = [PAD, START, END] if base.has_template else [PAD, END]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=base.vocabulary,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made, eos_token=END, pad_token=PAD, model_max_length=POSITIONS
    )
    if base.has_template:
        tokenizer.chat_template = TEMPLATE
    return tokenizer


def _train(
    base: Base,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: list[tuple[str, str]],
) -> None:
    """Train on every text once, all tokens of it, at a rate that falls to 0."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=base.rate, weight_decay=0.01)
    steps = -(-len(texts) // base.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, base.rate, steps, pct_start=0.1)
    for step in range(steps):
        rows = texts[step * base.batch_size : (step + 1) * base.batch_size]
        encoded = tokenizer([prompt + answer for prompt, answer in rows], padding=True)
        ids = torch.tensor(encoded["input_ids"])
        is_real = torch.tensor(encoded["attention_mask"])
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = model(
                input_ids=ids, attention_mask=is_real, labels=ids.masked_fill(is_real == 0, -100)
            ).loss
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.train(False)
