"""The training commands on one kind of base model, and whether plain libraries read the results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from tests.worker.files import material
from tests.worker.wholes.kinds import Kind
from worker.files import models
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import model_folders, token_ids

ROWS: Final = 16
NEW_TOKENS: Final = 8
TURNS: Final = ({"role": "user", "content": "What is 3?"},)


@dataclass(frozen=True, slots=True)
class Trained:
    """Where each command left its model."""

    sft: Path
    reward: Path
    policy: Path
    dpo: Path

    @property
    def generators(self) -> Mapping[str, Path]:
        """The models that generate."""
        return {"SFT": self.sft, "policy": self.policy, "DPO": self.dpo}


def train(kind: Kind, base: Path, folder: Path) -> Trained:
    """Run `train sft`, `reward`, `policy` and `dpo`, a few steps each."""
    common = ("--batch-size", 8, "--epochs", 1, "--set", "lora.r=2", *kind.options)
    shown = material.write(
        folder / "demonstrations.jsonl",
        ({"prompt": f"What is {n}?", "completion": kind.response(n)} for n in range(ROWS)),
    )
    judged = material.write(
        folder / "pairs.jsonl",
        (
            {"prompt": f"What is {n}?", "chosen": kind.response(n), "rejected": "no"}
            for n in range(ROWS)
        ),
    )
    asked = material.write(folder / "prompts.jsonl", map(kind.question, range(ROWS)))
    made = Trained(*(folder / name for name in ("sft", "reward", "policy", "dpo")))
    material.ok("train", "sft", shown, "-m", base, "-o", made.sft, *common)
    short = ("--set", f"sampling.max_new_tokens={NEW_TOKENS}")
    material.ok("train", "reward", judged, "-m", made.sft, "-o", made.reward, *common, *short)
    steps = ("--max-steps", 2, "--max-new-tokens", NEW_TOKENS, "--set", "evaluate_every=2")
    against = ("-m", made.sft, "-r", made.reward)
    material.ok("train", "policy", asked, *against, "-o", made.policy, *common, *steps)
    material.ok("train", "dpo", judged, "-m", base, "-o", made.dpo, *common)
    return made


def proven(kind: Kind, folder: Path) -> str:
    """Check that a saved model responds and stops in plain transformers as it does here.

    Returns what was checked, in words.
    """
    location = Path(model_folders.located(str(folder)))
    opened = models.open_model(str(location), "cpu")
    loaded = opened.roles.loaded
    prompt = token_ids.prompt_ids(loaded, list(TURNS), "")
    config = SamplingConfig(temperature=0.0, max_new_tokens=NEW_TOKENS)
    (ours,) = sampling.generate(opened.roles, [PromptItem("q", prompt)], config, opened.role)
    theirs = plain_response(kind, location, prompt, len(loaded.decoder_prefix))
    assert list(ours.token_ids) == theirs, f"{list(ours.token_ids)} here, {theirs} there"
    assert ends_of(location) == set(kind.ends), ends_of(location)
    assert loaded.pad_id not in loaded.end_ids
    ends = " and ".join(kind.ends)
    return f"{kind.auto_class.__name__} responds with the same {len(theirs)} tokens; ends: {ends}"


def plain_response(
    kind: Kind, folder: Path, prompt: Sequence[int], decoder_prefix: int = 0
) -> list[int]:
    """Generate greedily with what plain transformers loads from a folder."""
    plain: Any = kind.auto_class.from_pretrained(folder).eval()
    plain.generation_config = GenerationConfig.from_pretrained(folder)
    ids = torch.tensor([list(prompt)])
    written = plain.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
    )[0].tolist()
    response: list[int] = written[decoder_prefix or len(prompt) :]
    return response


def score(kind: Kind, folder: Path) -> float:
    """Score a response in plain libraries: by a classifier, or by the card of a decoder's head."""
    location = Path(model_folders.located(str(folder))) / "reward"
    turns = [dict(turn) for turn in TURNS]
    if kind.auto_class is AutoModelForSeq2SeqLM:
        return material.score_by_card(location, turns, "It is 9.")
    classifier: Any = AutoModelForSequenceClassification.from_pretrained(location, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(location)
    inputs = tokenizer("What is 3? It is 9.", return_tensors="pt")
    with torch.no_grad():
        logit: float = classifier.eval()(input_ids=inputs["input_ids"]).logits.item()
    assert isfinite(logit), logit
    return logit


def ends_of(folder: Path) -> set[str]:
    """Return the tokens at which a saved model stops in plain transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    numbers = GenerationConfig.from_pretrained(folder).eos_token_id
    numbers = numbers if isinstance(numbers, list) else [numbers]
    return set(tokenizer.convert_ids_to_tokens(numbers))
