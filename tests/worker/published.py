"""Random reward models and classifiers, saved as their makers publish them."""

from pathlib import Path

import torch
from transformers import LlamaForSequenceClassification

from tests.worker.rlhf import tiny

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}</s>{% endfor %}"


def save(folder: Path, labels: tuple[str, ...] = ("LABEL_0",), *, seed: int = 0) -> Path:
    """Save a sequence classifier with these labels; with one it is a reward model."""
    config = tiny.tiny_config()
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder
