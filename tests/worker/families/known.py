"""The model families that the matrix runs: each by its published shape, made tiny."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from transformers import CONFIG_MAPPING, PretrainedConfig


@dataclass(frozen=True, slots=True)
class Family:
    """A model type with the settings that matter, as its published models have them."""

    title: str
    model_type: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> PretrainedConfig:
        config: PretrainedConfig = CONFIG_MAPPING[self.model_type](**self.settings)
        return config


WINDOWED: Final = {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 14}
CONVOLUTIONS: Final = ["conv", "conv", "full_attention"] * 10
GRANITE: Final = {
    "logits_scaling": 8.0,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.0625,
}

WORKING: Final = (
    Family("Llama", "llama", {"num_key_value_heads": 8}),
    Family("Mistral with a window", "mistral", {"sliding_window": 4096}),
    Family("Ministral 3", "ministral3"),
    Family("Mixtral", "mixtral"),
    Family("Qwen2", "qwen2", {"num_key_value_heads": 8}),
    Family("Qwen2 with a window", "qwen2", WINDOWED),
    Family("Qwen2-MoE", "qwen2_moe"),
    Family("Qwen3", "qwen3"),
    Family("Qwen3-MoE", "qwen3_moe"),
    Family("Qwen3-Next", "qwen3_next"),
    Family("Qwen3.5", "qwen3_5_text"),
    Family("Gemma", "gemma"),
    Family("Gemma 2", "gemma2"),
    Family("Gemma 3, text", "gemma3_text"),
    Family("Gemma 3, with images", "gemma3"),
    Family("Gemma 3n, text", "gemma3n_text"),
    Family("Phi", "phi"),
    Family("Phi-3", "phi3"),
    Family("Phi-MoE", "phimoe"),
    Family("GPT-2", "gpt2"),
    Family("GPT-Neo", "gpt_neo"),
    Family("GPT-NeoX", "gpt_neox"),
    Family("GPT-J", "gptj"),
    Family("GPT-BigCode", "gpt_bigcode"),
    Family("gpt-oss", "gpt_oss"),
    Family("OPT", "opt"),
    Family(
        "OPT with projections",
        "opt",
        {"word_embed_proj_dim": 512, "hidden_size": 1024, "do_layer_norm_before": False},
    ),
    Family("BLOOM", "bloom"),
    Family("Falcon, rotary", "falcon"),
    Family("Falcon, ALiBi", "falcon", {"alibi": True}),
    Family("Falcon-H1", "falcon_h1"),
    Family("MPT", "mpt"),
    Family("StableLM", "stablelm"),
    Family("StarCoder2", "starcoder2"),
    Family("Cohere", "cohere"),
    Family("Cohere 2", "cohere2"),
    Family("OLMo", "olmo"),
    Family("OLMo 2", "olmo2"),
    Family("OLMo 3", "olmo3"),
    Family("OLMoE", "olmoe"),
    Family("Granite", "granite", GRANITE),
    Family("Granite-MoE", "granitemoe", GRANITE),
    Family(
        "Granite hybrid",
        "granitemoehybrid",
        {**GRANITE, "layer_types": ["mamba", "attention"] * 16},
    ),
    Family("DeepSeek-V3", "deepseek_v3"),
    Family("LFM2", "lfm2", {"num_hidden_layers": 30, "layer_types": CONVOLUTIONS}),
    Family("Jamba", "jamba"),
    Family("Mamba", "mamba"),
    Family("Mamba 2", "mamba2"),
    Family("RWKV", "rwkv"),
    Family("RecurrentGemma", "recurrent_gemma"),
    Family("SmolLM3", "smollm3"),
    Family("GLM-4", "glm4"),
    Family("GLM-4-MoE", "glm4_moe"),
    Family("EXAONE 4", "exaone4"),
    Family("Helium", "helium"),
    Family("Nemotron", "nemotron", {"num_key_value_heads": 8}),
    Family("Nemotron-H", "nemotron_h"),
    Family("Persimmon", "persimmon"),
    Family("MiniCPM3", "minicpm3"),
    Family("ERNIE 4.5", "ernie4_5"),
)

REFUSED: Final = (
    Family("Qwen2-VL", "qwen2_vl"),
    Family("LLaVA", "llava"),
    Family("BERT", "bert"),
    Family("RoBERTa", "roberta"),
    Family("ModernBERT", "modernbert"),
    Family("Llama 4, text", "llama4_text"),
)
