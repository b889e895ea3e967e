"""Make an encoder–decoder summarize dialogues without insults: SFT, then PPO against a classifier.

    python -m examples.dialogue_summary [--seed N] [--out FOLDER]
    python -m examples.dialogue_summary --model google/flan-t5-base \
        --classifier facebook/roberta-hate-speech-dynabench-r4-target

Without names, a small FLAN-T5-shaped model and a RoBERTa-shaped classifier are made on the spot, on
generated text: about a minute of one core. The reward is the classifier's logit of "nothate".
"""

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from transformers.utils.logging import disable_progress_bar

from examples import dialogue_grammar, dialogue_models
from examples.dialogue_grammar import SUMMARIZE, Dialogue
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import encoder_decoder, saving
from worker.rlhf.model import models as loaded_models
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import SFT, LoraSettings, Roles
from worker.rlhf.policy import ppo
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.reward import classifier
from worker.rlhf.reward.classifier import ClassifierReward
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

HARMLESS, HATEFUL = dialogue_models.LABELS
NORMAL_95 = 1.96
RUDE_SHARE = 0.5
SHOWN = 10
NEW_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in each part; the tests use less."""

    training: int = 400  # dialogues
    heldout: int = 100
    classifier_steps: int = 120
    pretraining_steps: int = 250
    sft_epochs: int = 2
    ppo_steps: int = 20
    episodes: int = 32


@dataclass(frozen=True, slots=True)
class Toxicity:
    """The probability of hate in each summary, before and after, on the same held-out dialogues."""

    before: Sequence[float]
    after: Sequence[float]

    @property
    def falls(self) -> list[float]:
        """What each dialogue's summary lost."""
        return [old - new for old, new in zip(self.before, self.after, strict=True)]

    @property
    def fall(self) -> tuple[float, float, float]:
        """The mean fall, with the ends of its 95 % interval over dialogues."""
        falls = self.falls
        half = NORMAL_95 * stdev(falls) / len(falls) ** 0.5
        return fmean(falls), fmean(falls) - half, fmean(falls) + half

    @property
    def improvement_percent(self) -> float:
        """The mean fall as a share of the mean before."""
        return 100.0 * self.fall[0] / fmean(self.before)


@dataclass(frozen=True, slots=True)
class Example:
    """What the parts share."""

    roles: Roles
    reward: ClassifierReward
    training: Sequence[Dialogue]
    heldout: Sequence[Dialogue]
    sizes: Sizes
    seed: int

    def items(self, dialogues: Sequence[Dialogue]) -> list[PromptItem]:
        """Return the dialogues as prompts to summarize."""
        tokenizer = self.roles.loaded.tokenizer
        return [
            PromptItem(str(n), dialogue_models.prompt_ids(tokenizer, SUMMARIZE, dialogue))
            for n, dialogue in enumerate(dialogues)
        ]

    def summaries(self, role: str) -> list[SampledCompletion]:
        """Return a role's summary of each held-out dialogue; all roles use equal random numbers."""
        config = SamplingConfig(max_new_tokens=NEW_TOKENS, seed=self.seed)
        items = self.items(self.heldout)
        by_key = {c.prompt_key: c for c in sampling.generate(self.roles, items, config, role)}
        return [by_key[item.key] for item in items]

    def toxicity(self, summaries: Sequence[SampledCompletion]) -> list[float]:
        """Return the probability of hate in each summary."""
        config = self.reward.classifier.model.config
        label = classifier.label_of(config, HATEFUL, "classifier")
        hateful = replace(self.reward, label=label, form="probability")
        return hateful.raw([Branches((), [c.token_ids]) for c in summaries]).tolist()


def main(arguments: Sequence[str] | None = None) -> Toxicity:
    """Run the example and print what it finds."""
    options = parse(arguments)
    started = time.monotonic()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as scratch:
        found = run(options, Path(scratch), Sizes())
    print(f"\nDone in {time.monotonic() - started:.0f} s.")
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.dialogue_summary",
        description="Fine-tune an encoder–decoder on dialogue summaries, then train it by PPO "
        "against a classifier of hate.",
    )
    parser.add_argument("--model", default="", help="folder or hub name of an encoder–decoder")
    parser.add_argument(
        "--classifier", default="", help="folder or hub name of a classifier with a nothate label"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to keep the models")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, scratch: Path, sizes: Sizes) -> Toxicity:
    """Make or load the models, fine-tune, train the policy, and compare before and after."""
    everything = dialogue_grammar.dialogues(sizes.training + sizes.heldout, options.seed)
    training, heldout = everything[: sizes.training], everything[sizes.training :]
    folder = options.out or scratch
    loaded = _model(options, training, folder / "base", sizes)
    name = _classifier(options, training, folder / "classifier", sizes)
    reward = classifier.load(name, HARMLESS, loaded.tokenizer)
    example = Example(Roles(loaded), reward, training, heldout, sizes, options.seed)
    fine_tune(example)
    reward = reward.fitted([Branches((), [c.token_ids]) for c in example.summaries(SFT)])
    before = example.summaries(SFT)
    train_policy(example, reward)
    after = example.summaries("policy")
    if options.out is not None:
        saving.save_policy(example.roles, folder / "policy")
    found = Toxicity(example.toxicity(before), example.toxicity(after))
    _report(example, found, before, after)
    return found


def fine_tune(example: Example) -> None:
    """Train an adapter on summaries that people could have written; half of them are rude."""
    roles, seed = example.roles, example.seed
    chance = random.Random(seed)
    shown = [
        dialogue_models.demonstration(
            roles.loaded,
            SUMMARIZE,
            dialogue,
            dialogue_grammar.summary(dialogue, chance, rude_share=RUDE_SHARE),
        )
        for dialogue in example.training
    ]
    shape = LoraSettings(16, 32, encoder_decoder.lora_targets(roles.causal))
    config = SftConfig(
        epochs=example.sizes.sft_epochs, batch_size=32, learning_rate=1e-3, lora=shape, seed=seed
    )
    losses = [r.metrics["loss"] for r in finetuning.train(roles, shown, config, TrainingState())]
    trained = sum(parameter.numel() for parameter in roles.parameters_of(SFT))
    total = trained + sum(parameter.numel() for parameter in roles.parameters_of("base"))
    print(
        f"SFT with LoRA on {', '.join(shape.targets)}: {trained:,} of {total:,} parameters are "
        f"trained ({100 * trained / total:.2f} %); loss {losses[0]:.2f} to {losses[-1]:.2f}"
    )


def train_policy(example: Example, reward: ClassifierReward) -> None:
    """Train the policy by PPO against the classifier; the reference is the fine-tuned model."""
    roles, sizes = example.roles, example.sizes
    config = PpoConfig(
        steps=sizes.ppo_steps,
        episodes=sizes.episodes,
        policy_learning_rate=1e-3,
        value_learning_rate=1e-3,
        kl_coefficient=0.05,
        max_new_tokens=NEW_TOKENS,
        seed=example.seed,
        lora=roles.settings[SFT],
        watch=WatchConfig(every=5, prompts=32, samples=0, rules=()),
    )
    ppo.prepare(roles, config, reward=None)
    training, heldout = example.items(example.training), example.items(example.training[:32])
    for report in ppo.train(roles, training, heldout, reward, config, TrainingState()):
        metrics = report.metrics
        if report.step == 1 or report.step % 5 == 0:
            print(
                f"PPO step {report.step} of {report.steps_total}: {HARMLESS} logit "
                f"{metrics['reward/score']:.2f}, KL {metrics['kl/k1']:.2f} nats"
            )


def _model(
    options: argparse.Namespace, training: Sequence[Dialogue], folder: Path, sizes: Sizes
) -> LoadedModel:
    if options.model:
        return loaded_models.load(options.model)
    torch.set_num_threads(1)  # so small a model is slower on several
    steps = sizes.pretraining_steps
    loaded, loss = dialogue_models.small_t5(training, folder, steps=steps, seed=options.seed)
    count = loaded.model.num_parameters()
    print(f"T5 of {count:,} parameters, trained on three instructions to a loss of {loss:.2f}")
    return loaded


def _classifier(
    options: argparse.Namespace, training: Sequence[Dialogue], folder: Path, sizes: Sizes
) -> str:
    if options.classifier:
        return str(options.classifier)
    accuracy = dialogue_models.small_classifier(
        training, folder, steps=sizes.classifier_steps, seed=options.seed
    )
    print(f"Classifier with labels {HARMLESS} and {HATEFUL}: {accuracy:.0%} on held-out sentences")
    return str(folder)


def _report(
    example: Example,
    found: Toxicity,
    before: Sequence[SampledCompletion],
    after: Sequence[SampledCompletion],
) -> None:
    for number, dialogue in enumerate(example.heldout[:SHOWN]):
        print(f"\n{dialogue.text}")
        for when, summaries, values in (
            ("before", before, found.before),
            ("after ", after, found.after),
        ):
            print(f"  {when} ({values[number]:.3f}): {summaries[number].text}")
    print(f"\nToxicity on {len(found.before)} held-out dialogues, as the probability of {HATEFUL}:")
    for when, values, summaries in (
        ("before", found.before, before),
        ("after ", found.after, after),
    ):
        both = fmean(
            all(name in summary.text for name in dialogue.names)
            for dialogue, summary in zip(example.heldout, summaries, strict=True)
        )
        print(
            f"  {when}: mean {fmean(values):.3f}, standard deviation {stdev(values):.3f}; "
            f"{both:.0%} of summaries name both speakers"
        )
    mean, low, high = found.fall
    print(
        f"  The mean fell by {mean:.3f} (95 % interval {low:.3f} to {high:.3f}, paired by "
        f"dialogue), an improvement of {found.improvement_percent:.0f} %."
    )


if __name__ == "__main__":
    main()
