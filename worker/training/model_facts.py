"""What the files of a model tell without loading it: configuration, tokenizer, chat template."""

from pathlib import Path
from typing import Any, Final

import jinja2
import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from worker.rlhf.core.layout_probe import FAILURES
from worker.rlhf.model import ends, supported, template
from worker.rlhf.model.template import ChatMessage
from worker.training import model_folders
from worker.training.model_folders import ADAPTER

THINKING: Final = ("enable_thinking", "<think>", "reasoning_content")


def memory_of(device: str) -> int:
    """Return the memory of a device, in bytes; 0 if it is unknown."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(torch.device(device)).total_memory)
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return 0
    return int(meminfo.read_text(encoding="utf-8").split()[1]) * 1024


def config_of(name: str) -> PretrainedConfig:
    """Read the configuration of a whole model.

    Raises:
        ValueError: if the folder is none, or not that of a whole model.
        Invalid: if it is that of a run that has not finished.
        OSError: if there is nothing of that name.
    """
    folder = Path(name).expanduser()
    if (folder / ADAPTER).is_file():
        raise ValueError(f"{name} is an adapter; check the base model that its {ADAPTER} names")
    if folder.is_dir() and not (folder / "config.json").is_file():
        inner = model_folders.located(name)
        if Path(inner) != folder.resolve():
            raise ValueError(f"{name} is the folder of a run; the model in it is {inner}")
        raise ValueError(f"the folder {name} has no config.json; it is not a model")
    if name.startswith((".", "/", "~")) and not folder.exists():
        raise ValueError(f"there is no folder {name}")
    config: PretrainedConfig = AutoConfig.from_pretrained(name, trust_remote_code=False)
    return config


def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    """Read the tokenizer."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        name, trust_remote_code=False
    )
    return tokenizer


def generation_of(name: str, config: PretrainedConfig) -> GenerationConfig:
    """Read the generation config; the few folders without one may have its settings in config."""
    try:
        return GenerationConfig.from_pretrained(name)
    except OSError:
        return GenerationConfig.from_model_config(config)


def ends_of(
    name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> dict[int, str]:
    """Return the tokens that end a response, by id; the first is written after a finished one.

    Raises:
        ValueError: if there is none.
    """
    generation = generation_of(name, config)
    vocabulary = config.get_text_config().vocab_size
    found = ends.of_files(vocabulary, generation, tokenizer)
    if not found:
        raise ValueError(
            f"{name!r} has no EOS token, neither in its tokenizer nor in its generation config, so "
            "completions cannot end"
        )
    return {end.id: end.token for end in found}


def refuse_other_weights(name: str) -> None:
    """Refuse a folder whose weights would not be loaded.

    Raises:
        ValueError: naming the folder.
    """
    folder = Path(name).expanduser()
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"the folder {name} has no *.safetensors file; only weights in that format are loaded"
        )


def reading(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what the configuration and the tokenizer tell."""
    text = config.get_text_config()
    limit = getattr(text, "max_position_embeddings", None)
    notes = []
    if supported.has_other_parts(config):
        notes.append(
            f"Models of type {config.model_type!r} {supported.TEXT_PART}: only the language part "
            "is trained and sampled."
        )
    if tokenizer.chat_template is None:
        notes.append("It has no chat template; turns are written as plain text.")
    return {
        "context_tokens": None if limit is None else int(limit),
        "template": _template(tokenizer),
        "notes": tuple(notes),
    }


def _template(tokenizer: PreTrainedTokenizerBase) -> dict[str, bool]:
    if tokenizer.chat_template is None:
        return {"exists": False, "system": False, "thinking": False}
    source = str(tokenizer.chat_template)
    return {
        "exists": True,
        "system": _takes_system(tokenizer),
        "thinking": any(mark in source for mark in THINKING),
    }


def _takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a system turn is rendered in its own place."""
    mark = "a system turn"
    turns = [{"role": "system", "content": mark}, {"role": "user", "content": "a question"}]
    try:
        folded = template.render_prompt(tokenizer, [ChatMessage("user", f"{mark}\n\na question")])
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except (jinja2.TemplateError, *FAILURES):  # a template may refuse what its author chose
        return False
    return mark in text and text != folded
