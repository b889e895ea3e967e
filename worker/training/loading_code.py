"""Python code that loads a saved model with plain transformers and PEFT, for its card.

It is written for what the folder holds, and runs there as written: an adapter on its base, a whole
model, or the members of a reward model. An encoder–decoder reward model brings its own.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from worker.rlhf.model import template
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.template import ChatMessage

ADAPTER: Final = "adapter_config.json"
CLASSIFIER: Final = "SEQ_CLS"
WRITERS: Final[Mapping[str, str]] = {
    "CAUSAL_LM": "AutoPeftModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM",
}
QUESTION: Final = "How do I renew a book?"
RESPONSE: Final = "Bring it to the desk."

GENERATE: Final = """from {package} import {model}
from transformers import AutoTokenizer, GenerationConfig

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {model}.from_pretrained(folder).eval()
{prompt}
inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
ends = GenerationConfig.from_pretrained(folder)
output = model.generate(**inputs, generation_config=ends, max_new_tokens=128)
print(tokenizer.decode(output[{response}], skip_special_tokens=True))"""

SCORE: Final = """import torch
from {package} import {model}
from transformers import AutoTokenizer

folder = {folder!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {model}.from_pretrained(folder{labels}).eval()
model.config.pad_token_id = tokenizer.pad_token_id
{prompt}
parts = [text, {response!r}, {end!r}]
ids = [n for part in parts for n in tokenizer(part, add_special_tokens=False)["input_ids"]]
with torch.no_grad():
    score = model(input_ids=torch.tensor([ids])).logits[0, 0].item()
print(score)"""


def section(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return the lines of the card on loading the model in a folder; none if nothing is known."""
    blocks = [_explained(folder, part, settings) for part in _parts(folder)]
    lines = [line for block in blocks for line in block]
    return ["## Loading", "", *lines] if lines else []


def _parts(folder: Path) -> list[Path]:
    """Return the folders with a model: this one, or the members of a reward model."""
    if (folder / ADAPTER).is_file() or (folder / "config.json").is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{ADAPTER}"))


def _explained(folder: Path, part: Path, settings: Mapping[str, Any]) -> list[str]:
    inside = part.relative_to(folder).as_posix()
    adapter = _json(part / ADAPTER)
    task = adapter.get("task_type") if adapter else None
    tokenizer = AutoTokenizer.from_pretrained(str(part))
    prompt = _prompt(tokenizer, settings)
    if task == CLASSIFIER or (not adapter and _is_classifier(part)):
        code = _scoring(tokenizer, inside, prompt, settings, adapter)
    elif adapter and task not in WRITERS:
        return []
    else:
        code = _generating(part, prompt, adapter)
    lines = [f"In this folder, with plain transformers{' and PEFT' if adapter else ''}:", ""]
    if adapter:
        lines[:0] = [
            f"An adapter on `{adapter['base_model_name_or_path']}`. If that path does not exist on "
            f"your machine, name the base's place in `{ADAPTER}`, or export a merged model.",
            "",
        ]
    return [*lines, "```python", *code.splitlines(), "```", *_scale(task, settings), ""]


def _generating(part: Path, prompt: str, adapter: Mapping[str, Any]) -> str:
    if adapter:
        model = WRITERS[adapter["task_type"]]
        is_pair = adapter["task_type"] == "SEQ_2_SEQ_LM"
    else:
        is_pair = bool(_json(part / "config.json").get("is_encoder_decoder"))
        model = "AutoModelForSeq2SeqLM" if is_pair else "AutoModelForCausalLM"
    return GENERATE.format(
        package="peft" if adapter else "transformers",
        model=model,
        prompt=prompt,
        response="0" if is_pair else '0, inputs["input_ids"].shape[1] :',
    )


def _scoring(
    tokenizer: PreTrainedTokenizerBase,
    inside: str,
    prompt: str,
    settings: Mapping[str, Any],
    adapter: Mapping[str, Any],
) -> str:
    ends = settings.get("ends") or [{"token": tokenizer.eos_token}]
    kind = "ModelForSequenceClassification"
    return SCORE.format(
        package="peft" if adapter else "transformers",
        model=f"AutoPeft{kind}" if adapter else f"Auto{kind}",
        folder=inside,
        labels=_labels(adapter),
        prompt=prompt,
        response=RESPONSE,
        end=ends[0]["token"],
    )


def _labels(adapter: Mapping[str, Any]) -> str:
    """Return the argument that is needed where the base's own config states other labels."""
    if not adapter:
        return ""
    try:
        base = AutoConfig.from_pretrained(adapter["base_model_name_or_path"])
    except (OSError, ValueError):
        return ", num_labels=1"
    return "" if base.num_labels == 1 else ", num_labels=1"


def _scale(task: str | None, settings: Mapping[str, Any]) -> list[str]:
    if task != CLASSIFIER or "normaliser" not in settings:
        return []
    scale = json.dumps(settings["normaliser"], sort_keys=True)
    return ["", f"The score is not normalized. Its scale, per member: `{scale}`."]


def _prompt(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> str:
    """Return the lines that render a prompt as it was rendered in training."""
    instruction = str(settings.get("instruction") or "")
    chosen: Mapping[str, Any] = settings.get("chat") or {}
    options = ChatOptions(arguments=chosen.get("arguments", {}))
    turns = [ChatMessage("system", instruction)] if instruction else []
    turns.append(ChatMessage("user", QUESTION))
    rendered = template.render_prompt(tokenizer, turns, options)
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    adds_bos = template.encode_prompt(tokenizer, rendered) != ids
    start = "tokenizer.bos_token + " if adds_bos else ""
    folded = [ChatMessage("user", "\n\n".join(turn.content for turn in turns))]
    for shown in (turns, folded):  # some templates refuse a system turn, or ignore it
        if _applied(tokenizer, shown, options) == rendered:
            return _template_call(start, shown, options)
    return f"text = {start}{rendered!r}"


def _applied(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[ChatMessage], options: ChatOptions
) -> str | None:
    """Return what the template makes of the turns; None without one, or if it refuses them."""
    if tokenizer.chat_template is None:
        return None
    listed = [{"role": turn.role, "content": turn.content} for turn in turns]
    arguments: dict[str, Any] = dict(options.arguments)
    try:
        return str(
            tokenizer.apply_chat_template(
                listed, tokenize=False, add_generation_prompt=True, **arguments
            )
        )
    except (jinja2.TemplateError, TypeError):
        return None


def _template_call(start: str, turns: Sequence[ChatMessage], options: ChatOptions) -> str:
    listed = "".join(f"    {{'role': {t.role!r}, 'content': {t.content!r}}},\n" for t in turns)
    arguments = "".join(f"    {name}={value!r},\n" for name, value in options.arguments.items())
    return (
        f"messages = [\n{listed}]\n"
        f"text = {start}tokenizer.apply_chat_template(\n"
        f"    messages, tokenize=False, add_generation_prompt=True,\n{arguments})"
    )


def _is_classifier(part: Path) -> bool:
    made_as = _json(part / "config.json").get("architectures") or [""]
    return bool(made_as[0].endswith("ForSequenceClassification"))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
