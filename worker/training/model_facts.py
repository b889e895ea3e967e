"""What the files of a model tell without loading it: configuration, tokenizer, chat template."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from worker.rlhf.core.layout_probe import FAILURES
from worker.rlhf.model import encoder_decoder, ends, soundness, supported, template
from worker.rlhf.model.soundness import UnsoundFiles
from worker.rlhf.model.template import ChatMessage
from worker.training import model_folders
from worker.training.model_folders import ADAPTER

READ_MOST: Final = 2_000_000_000  # bytes of weights, which take some seconds to read
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
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except ValueError as error:
        if "custom code" not in str(error):
            raise
        raise ValueError(
            f"{name} brings its own code (auto_map in its config.json), which is not run; choose a "
            "model of a type that transformers knows"
        ) from error
    return config


def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    """Read the tokenizer.

    Raises:
        UnsoundFiles: if a folder has none that can be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, trust_remote_code=False
        )
    except FAILURES as error:
        if not Path(name).expanduser().is_dir():
            raise
        raise UnsoundFiles(
            f"no tokenizer can be read in the folder {name}; it needs a tokenizer.json, or the "
            f"files of the model's own tokenizer ({model_folders.first_line(error)})"
        ) from error
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


def refuse_other_weights(name: str, config: PretrainedConfig) -> None:
    """Refuse a folder whose weights would not be loaded, or are not whole.

    The headers tell which weights there are; the values are read only of small models.

    Raises:
        UnsoundFiles: naming the folder or the weights.
        SafetensorError: if a file is damaged.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UnsoundFiles(
            f"the folder {name} has no *.safetensors file; only weights in that format are loaded"
        )
    _model, read = encoder_decoder.auto_class(config).from_pretrained(
        folder,
        device_map={"": "meta"},
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        output_loading_info=True,
    )
    soundness.refuse_incomplete(read["missing_keys"], read["mismatched_keys"])
    if sum(file.stat().st_size for file in files) <= READ_MOST:
        soundness.refuse_not_finite(_weights_in(files))


def _weights_in(files: Sequence[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                yield name, opened.get_tensor(name)


def refuse_failing_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a chat template that does not even render a single question.

    Raises:
        UnsoundFiles: with the template's own message.
    """
    try:
        template.render_prompt(tokenizer, [ChatMessage("user", "a question")])
    except FAILURES as error:
        raise UnsoundFiles(
            f"its chat template fails on a single question: {model_folders.first_line(error)}"
        ) from error


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
