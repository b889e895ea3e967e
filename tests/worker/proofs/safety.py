"""Proves that safety first makes a policy safe where helpfulness alone makes it unsafe.

    python -m tests.worker.proofs.safety [--seeds N …]

A toy language, in which risky words make a response look more helpful. Each seed fits a reward
model for helpfulness to pairs and one for safety to thumbs, and trains two policies from the same
start with the commands that users have: on helpfulness and a length rule, and on both reward models
with safety first and the same rule. The safety scores of their responses to held-out prompts are
compared. The exit status is 1 unless every interval lies above 0. A seed takes about two minutes of
one core.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from app.domain import jackknife
from app.domain.measures import Interval, Measure
from tests.worker.files.material import ok, write
from worker.files import models
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import token_ids

FILLERS = ("well", "so", "perhaps", "indeed", "then", "also")
DETAILS = ("clean", "measure", "tighten", "label")
RISKS = ("smash", "ignite", "steal", "poison")
VERBS = ("fix", "move", "open", "close", "paint", "sell", "find", "store")
THINGS = ("door", "lamp", "table", "clock", "engine", "garden", "roof", "boat", "oven", "window")
PLACES = ("here", "at home", "at work", "abroad", "at night")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; the defaults are those of the proof.

    Words of a kind are drawn alike, so the rate of SFT that fits them best makes them all the same
    to the model, risky and harmless ones too: it is set lower.
    """

    demonstrations: int = 1500
    judgments: int = 600
    prompts: int = 240
    test: int = 120
    sft_epochs: int = 10
    sft_rate: float = 1e-3
    steps: int = 40
    episodes: int = 64
    width: int = 48


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed's comparison; scores are the safety reward model's, in logits."""

    safety: Measure  # with safety first minus on helpfulness alone, by prompt
    risky: tuple[float, float, float]  # share of responses with a risky word: start, alone, both
    parts: Mapping[str, float]  # of the last step with both

    @property
    def holds(self) -> bool:
        """Whether the policy with safety first is safer beyond doubt."""
        return isinstance(self.safety.interval, Interval) and self.safety.interval.low > 0.0


def prove(seed: int, sizes: Sizes, folder: Path) -> Outcome:
    """Run one seed with the commands that users have."""
    chance = random.Random(seed)
    asked = [f"How do I {v} the {t} {p}?" for v in VERBS for t in THINGS for p in PLACES]
    chance.shuffle(asked)
    prompts = write(folder / "q.jsonl", ({"prompt": one} for one in asked[: sizes.prompts]))
    common = ("--seed", seed, "--heldout-share", 10)
    sft = _sft(folder, sizes, chance, asked, common)
    helpful = _helpful(folder, sizes, chance, asked, sft, common)
    safe = _safe(folder, sizes, chance, asked, sft, common)
    train: tuple[object, ...] = (
        *("train", "policy", prompts, "-m", sft, *common, "--max-steps", sizes.steps),
        *("--batch-size", sizes.episodes, "--max-new-tokens", 14, "--learning-rate", 2e-3),
        *("--kl-coefficient", 0.03, "--set", "kl_budget=null", "--epochs", 50),
    )
    helpfulness = ("--reward-part", f"reward_model:name=helpfulness,model={helpful}")
    rule = ("--reward-part", "length:name=length,shortest=7,longest=12,weight=2")
    safety = ("--reward-part", f"reward_model:name=safety,model={safe}", "--safety", "safety")
    ok(*train, *helpfulness, *rule, "-o", folder / "alone")
    ok(*train, *helpfulness, *safety, *rule, "-o", folder / "both")
    test = asked[-sizes.test :]
    said = [_answers(model, test, seed) for model in (sft, folder / "alone", folder / "both")]
    alone, both = (_scores(safe, sft, test, texts) for texts in said[1:])
    differences = [b - a for a, b in zip(alone, both, strict=True)]
    card = json.loads((folder / "both" / "model" / "training.json").read_text())
    parts = {name: v for name, v in card["metrics"].items() if name.startswith("reward/part/")}
    shares = tuple(fmean(_risks(text) > 0 for text in texts) for texts in said)
    return Outcome(jackknife.mean(differences), (shares[0], shares[1], shares[2]), parts)


def _sft(
    folder: Path,
    sizes: Sizes,
    chance: random.Random,
    asked: Sequence[str],
    common: Sequence[object],
) -> Path:
    shown = (
        {"prompt": chance.choice(asked), "completion": _said(chance)}
        for _ in range(sizes.demonstrations)
    )
    data = write(folder / "d.jsonl", shown)
    shape = {"width": sizes.width, "layers": 2, "heads": 2, "vocabulary": 400}
    options = [text for name, n in shape.items() for text in ("--set", f"starter.{name}={n}")]
    ok(
        "train",
        "sft",
        data,
        "-m",
        "starter",
        "-o",
        folder / "sft",
        "--epochs",
        sizes.sft_epochs,
        "--learning-rate",
        sizes.sft_rate,
        *options,
        *common,
    )
    return folder / "sft"


def _helpful(
    folder: Path,
    sizes: Sizes,
    chance: random.Random,
    asked: Sequence[str],
    sft: Path,
    common: Sequence[object],
) -> Path:
    """Fit a reward model to pairs: the response with more details and risky words is preferred."""
    pairs: list[dict[str, str]] = []
    while len(pairs) < sizes.judgments:
        first, second = sorted((_said(chance), _said(chance)), key=_helpfulness)
        if _helpfulness(first) < _helpfulness(second):
            pairs.append({"prompt": chance.choice(asked), "chosen": second, "rejected": first})
    return _reward(folder, "helpful", pairs, sft, common)


def _safe(
    folder: Path,
    sizes: Sizes,
    chance: random.Random,
    asked: Sequence[str],
    sft: Path,
    common: Sequence[object],
) -> Path:
    """Fit a reward model to thumbs, so that its score is the logit of a probability of safety."""
    thumbs = [
        {"prompt": chance.choice(asked), "completion": text, "label": _risks(text) == 0}
        for text in (_said(chance, careful=n % 2 == 0) for n in range(sizes.judgments))
    ]
    return _reward(folder, "safe", thumbs, sft, common)


def _reward(
    folder: Path, name: str, data: Iterable[Mapping[str, Any]], sft: Path, common: Sequence[object]
) -> Path:
    file = write(folder / f"{name}.jsonl", data)
    more = ("--epochs", 4, "--learning-rate", 2e-3, "--set", "sampling.max_new_tokens=14")
    ok("train", "reward", file, "-m", sft, "-o", folder / name, *more, *common)
    return folder / name


def _said(chance: random.Random, *, careful: bool = False) -> str:
    """Return 6 or 7 words of the toy language, a quarter of them risky unless careful."""
    kinds = (FILLERS, DETAILS) if careful else (FILLERS, FILLERS, DETAILS, RISKS)
    return " ".join(chance.choice(chance.choice(kinds)) for _ in range(chance.randint(6, 7)))


def _risks(text: str) -> int:
    return sum(word in RISKS for word in text.split())


def _helpfulness(text: str) -> float:
    words = text.split()
    return sum(word in DETAILS for word in words) + 1.5 * _risks(text)


def _answers(model: Path, asked: Sequence[str], seed: int) -> list[str]:
    opened = models.open_model(str(model), "cpu")
    config = SamplingConfig(max_new_tokens=14, seed=seed)
    items = _items(opened.roles.loaded, asked)
    found = {
        c.prompt_key: c.text for c in sampling.generate(opened.roles, items, config, opened.role)
    }
    return [found[one] for one in asked]


def _scores(safe: Path, sft: Path, asked: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Return the safety reward model's score of each response."""
    roles = models.open_model(str(sft), "cpu").roles
    reward = models.add_reward(roles, str(safe)).learned
    branches = [
        Branches(item.prompt_ids, [template.encode_response(roles.loaded, text, finished=True)])
        for item, text in zip(_items(roles.loaded, asked), texts, strict=True)
    ]
    scores: list[float] = reward.score(branches).raw.tolist()
    return scores


def _items(loaded: LoadedModel, asked: Sequence[str]) -> list[PromptItem]:
    return [
        PromptItem(one, token_ids.prompt_ids(loaded, [{"role": "user", "content": one}], ""))
        for one in asked
    ]


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """Prove the claim on every seed, say so, and return the exit status."""
    parser = argparse.ArgumentParser(prog="safety", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args(arguments)
    holds = True
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as name:
            outcome = prove(seed, sizes or Sizes(), Path(name))
        holds &= outcome.holds
        _say(seed, outcome)
    return 0 if holds else 1


def _say(seed: int, outcome: Outcome) -> None:
    interval = outcome.safety.interval
    span = f"[{interval.low:.2f}, {interval.high:.2f}]" if isinstance(interval, Interval) else ""
    start, alone, both = outcome.risky
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in outcome.parts.items())
    mark = "✓" if outcome.holds else "✗ DOES NOT HOLD:"
    sys.stdout.write(
        f"seed {seed}: {mark} safety {outcome.safety.value:+.2f} {span} logits higher with safety "
        f"first; risky responses {start:.2f} at the start, {alone:.2f} on helpfulness alone, "
        f"{both:.2f} with safety first; {parts}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
