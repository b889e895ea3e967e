"""A small, randomly initialized Llama with its own tokenizer, for use without a model or a GPU."""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from worker.rlhf.model.models import LoadedModel, adopt
from worker.rlhf.model.template import MARKERS, STARTER_CHAT_TEMPLATE

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
PATH = "starter"
CONTEXT_TOKENS = 1024
WEIGHT_STD = 0.04


def build(
    texts: Iterable[str],
    *,
    vocab_size: int = 1024,
    width: int = 192,
    layers: int = 6,
    heads: int = 6,
    seed: int,
) -> LoadedModel:
    """Train a byte-level BPE tokenizer on the texts and initialize a Llama for it.

    The defaults make 2.8 million parameters. The same texts and seed give the same model.

    Raises:
        ValueError: if the vocabulary cannot hold all bytes and special tokens, or the heads do not
            divide the width.
    """
    smallest = len(pre_tokenizers.ByteLevel.alphabet()) + len(_special())
    if vocab_size < smallest:
        raise ValueError(f"vocab_size must be at least {smallest}, got {vocab_size}")
    if width % (2 * heads):
        raise ValueError(f"width {width} does not split into {heads} heads of even size")
    tokenizer = _tokenizer(texts, vocab_size)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=_multiple_of_64(width * 8 // 3),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        initializer_range=WEIGHT_STD,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return adopt(model, tokenizer, PATH)


def _tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_special(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=trained,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=list(MARKERS.values()),
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = STARTER_CHAT_TEMPLATE
    return tokenizer


def _special() -> list[str]:
    return [PAD, BEGIN, END, *MARKERS.values()]


def _multiple_of_64(size: int) -> int:
    return -(-size // 64) * 64
