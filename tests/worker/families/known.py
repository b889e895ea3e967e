"""The model families that the matrix runs: each by its published shape, made tiny."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from transformers import CONFIG_MAPPING, PretrainedConfig


@dataclass(frozen=True, slots=True)
class Family:
    """A model type with the settings that matter, as its published models have them.

    `like` names a family that takes the same paths through our code: the matrix runs that one with
    every change, and this one with the slow tests.
    """

    title: str
    model_type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    like: str = ""

    @property
    def config(self) -> PretrainedConfig:
        config: PretrainedConfig = CONFIG_MAPPING[self.model_type](**self.settings)
        return config


WINDOWED: Final = {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 14}
CONVOLUTIONS: Final = ["conv", "conv", "full_attention"] * 10
T5: Final = {"decoder_start_token_id": 0}
UNTIED: Final = {"tie_word_embeddings": False}
GRANITE: Final = {
    "logits_scaling": 8.0,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.0625,
}

WORKING: Final = (
    Family("Llama", "llama", {"num_key_value_heads": 8}),
    Family("Mistral with a window", "mistral", {"sliding_window": 4096}),
    Family("Ministral 3", "ministral3", like="Qwen3"),
    Family("Mixtral", "mixtral"),
    Family("Qwen2", "qwen2", {"num_key_value_heads": 8}, like="Llama"),
    Family("Qwen2 with a window", "qwen2", WINDOWED, like="Mistral with a window"),
    Family("Qwen2-MoE", "qwen2_moe", like="Mixtral"),
    Family("Qwen3", "qwen3"),
    Family("Qwen3-MoE", "qwen3_moe"),
    Family("Qwen3-Next", "qwen3_next"),
    Family("Qwen3.5", "qwen3_5_text"),
    Family("Gemma", "gemma", like="Qwen3"),
    Family("Gemma 2", "gemma2"),
    Family("Gemma 3, text", "gemma3_text", like="Gemma 3, with images"),
    Family("Gemma 3, with images", "gemma3"),
    Family("Gemma 3n, text", "gemma3n_text"),
    Family("Phi", "phi", like="GPT-NeoX"),
    Family("Phi-3", "phi3"),
    Family("Phi-MoE", "phimoe", like="Mixtral"),
    Family("GPT-2", "gpt2"),
    Family("GPT-Neo", "gpt_neo"),
    Family("GPT-NeoX", "gpt_neox"),
    Family("GPT-J", "gptj", like="GPT-NeoX"),
    Family("GPT-BigCode", "gpt_bigcode", like="GPT-2"),
    Family("gpt-oss", "gpt_oss"),
    Family("OPT", "opt", like="OPT with projections"),
    Family(
        "OPT with projections",
        "opt",
        {"word_embed_proj_dim": 512, "hidden_size": 1024, "do_layer_norm_before": False},
    ),
    Family("BLOOM", "bloom"),
    Family("Falcon, rotary", "falcon", like="GPT-NeoX"),
    Family("Falcon, ALiBi", "falcon", {"alibi": True}),
    Family("Falcon-H1", "falcon_h1"),
    Family("MPT", "mpt"),
    Family("StableLM", "stablelm", like="Qwen3"),
    Family("StarCoder2", "starcoder2", like="Qwen3"),
    Family("Cohere", "cohere"),
    Family("Cohere 2", "cohere2"),
    Family("OLMo", "olmo", like="Qwen3"),
    Family("OLMo 2", "olmo2", like="Qwen3"),
    Family("OLMo 3", "olmo3", like="Mistral with a window"),
    Family("OLMoE", "olmoe", like="Mixtral"),
    Family("Granite", "granite", GRANITE),
    Family("Granite-MoE", "granitemoe", GRANITE, like="Mixtral"),
    Family(
        "Granite hybrid",
        "granitemoehybrid",
        {**GRANITE, "layer_types": ["mamba", "attention"] * 16},
    ),
    Family("DeepSeek-V3", "deepseek_v3"),
    Family("LFM2", "lfm2", {"num_hidden_layers": 30, "layer_types": CONVOLUTIONS}),
    Family("Jamba", "jamba"),
    Family("Mamba", "mamba"),
    Family("Mamba 2", "mamba2", like="Mamba"),
    Family("RWKV", "rwkv"),
    Family("RecurrentGemma", "recurrent_gemma"),
    Family("SmolLM3", "smollm3", like="Qwen3"),
    Family("GLM-4", "glm4", like="Phi-3"),
    Family("GLM-4-MoE", "glm4_moe", like="Mixtral"),
    Family("EXAONE 4", "exaone4", like="Mistral with a window"),
    Family("Helium", "helium", like="Qwen3"),
    Family("Nemotron", "nemotron", {"num_key_value_heads": 8}, like="Qwen3"),
    Family("Nemotron-H", "nemotron_h", like="Jamba"),
    Family("Persimmon", "persimmon", like="GPT-NeoX"),
    Family("MiniCPM3", "minicpm3"),
    Family("ERNIE 4.5", "ernie4_5", like="Qwen3"),
    Family("T5", "t5", T5),
    Family("T5 1.1 and FLAN-T5", "t5", {**T5, "feed_forward_proj": "gated-gelu", **UNTIED}),
    Family("BART", "bart", {"decoder_start_token_id": 2}),
)

REFUSED: Final = (
    Family("Qwen2-VL", "qwen2_vl"),
    Family("LLaVA", "llava"),
    Family("BERT", "bert"),
    Family("RoBERTa", "roberta"),
    Family("ModernBERT", "modernbert"),
    Family("Llama 4, text", "llama4_text"),
)
