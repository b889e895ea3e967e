"""A random two-layer model and a byte tokenizer: small enough for every test, and no download."""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.t5.modeling_t5 import T5Attention

from worker.rlhf.core.parallel import Team
from worker.rlhf.model.models import LoadedModel, adopt
from worker.rlhf.model.roles import LoraSettings, Roles

SPECIAL = ("<pad>", "<s>", "</s>")
EOS = 2
LORA = LoraSettings(r=4, alpha=8)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte after the three special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    bytewise = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bytewise, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def tiny_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,  # far from uniform, so that tests see differences
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def loaded(
    seed: int = 0,
    config: LlamaConfig | None = None,
    tokens: PreTrainedTokenizerFast | None = None,
) -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config or tiny_config())
    return adopt(model, tokens or tokenizer(), "tiny")


def loaded_gpt2() -> LoadedModel:
    """Return a model whose positions are absolute: a shift that Llama cannot see changes it."""
    config = GPT2Config(
        vocab_size=259,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
    return adopt(model, tokenizer(), "tiny-gpt2")


def encoder_tokenizer(template: str = "$A </s>") -> PreTrainedTokenizerFast:
    """Return the byte tokenizer as encoders have it, with special tokens around a text."""
    made = tokenizer()
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return made


def loaded_t5(*, is_flan: bool = True) -> LoadedModel:
    """Return a T5: as version 1.1 and FLAN (gated, logits not scaled), or as the first one."""
    # The library's annotations leave out what it takes beyond the fields.
    untyped: dict[str, Any] = {"tie_word_embeddings": not is_flan, "decoder_start_token_id": 0}
    config = T5Config(
        vocab_size=259,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu" if is_flan else "relu",
        initializer_factor=0.5 if is_flan else 2.0,
        pad_token_id=0,
        eos_token_id=2,
        **untyped,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(config)
        if is_flan:  # an output layer of its own, as FLAN-T5 has
            model.lm_head.weight = torch.nn.Parameter(torch.randn(259, 32) * 0.4)
        for module in model.modules():
            if isinstance(module, T5Attention) and module.has_relative_attention_bias:
                torch.nn.init.normal_(module.relative_attention_bias.weight)
    return adopt(model, encoder_tokenizer(), "tiny-t5")


def loaded_bart() -> LoadedModel:
    """Return an encoder–decoder with absolute positions, a forced first token and a logit bias."""
    config = BartConfig(
        vocab_size=259,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=128,
        init_std=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BartForConditionalGeneration(config)
        model.final_logits_bias.normal_()
    model.generation_config.forced_bos_token_id = 1
    return adopt(model, encoder_tokenizer("<s> $A </s>"), "tiny-bart")


def roles(
    *names: str,
    heads: tuple[str, ...] = (),
    seed: int = 0,
    moved: float = 0.05,
    base: LoadedModel | None = None,
    team: Team | None = None,
) -> Roles:
    """Return roles whose adapters differ from the base by random amounts of size `moved`."""
    made = Roles(base or loaded(seed), team)
    generator = torch.Generator().manual_seed(seed)
    for index, name in enumerate(names):
        made.add_adapter(name, LORA, seed=index)
        with torch.no_grad():
            for parameter in made.parameters_of(name):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=moved)
    for index, name in enumerate(heads):
        made.add_head(name, seed=index)
    return made


def token_ids(*lengths: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Return random byte ids, one tuple per length."""
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randint(3, 259, (length,), generator=generator).tolist()) for length in lengths
    ]
