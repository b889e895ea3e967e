"""Supervised fine-tuning: from demonstrations as text to a trained model in memory."""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from app.domain.plan import SftPlan, Starter
from app.domain.step_counts import LOOKS_SHARE, SCORING_COST
from app.errors import Invalid
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.layout_probe import LayoutProbe
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, saving, starter, template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, SFT, LoraSettings, Roles
from worker.rlhf.sft import finetuning, packing
from worker.rlhf.sft.finetuning import SftConfig
from worker.training import (
    adapter_shape,
    layout,
    sft_search,
    token_budgets,
    token_ids,
    trained_parameters,
    training_loop,
)
from worker.training.training_loop import LoopEnd, RunPlace

NOTE = "imitating demonstrations"
HELDOUT_LEAST = 16
"""Demonstrations that the held-out loss is always measured on, however short the training."""


class PromptAndResponse(Protocol):
    """A demonstration as text."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The turns of the prompt."""

    @property
    def text(self) -> str:
        """The response to imitate."""


@dataclass(frozen=True, slots=True)
class SftInputs:
    """What SFT learns from, and how.

    Attributes:
        plan: the settings.
        train: demonstrations to imitate.
        heldout: demonstrations for evaluation only.
        instruction: joined to every prompt.
        is_starter: whether the model is a starter, which is trained in full.
        checkpoints_gradients: whether to keep fewer activations and recompute them.
        token_budget: tokens per forward pass; None: by the free memory.
        seed: of all random numbers.
    """

    plan: SftPlan
    train: Sequence[PromptAndResponse]
    heldout: Sequence[PromptAndResponse]
    instruction: str
    is_starter: bool
    checkpoints_gradients: bool
    seed: int
    token_budget: int | None = None


@dataclass(frozen=True, slots=True)
class SftResult:
    """A trained model in memory: its settings, the role that holds it, and its metrics."""

    config: SftConfig
    role: str
    end: LoopEnd
    metrics: dict[str, Any]
    rows: LayoutProbe
    size: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The training settings that the checkpoint records."""
        kind = layout.FULL if self.config.full else layout.ADAPTER
        return {
            "layout": kind,
            "training": self.config.to_json(),
            "rows": self.rows.to_json(),
            **self.size,
        }

    def save(self, roles: Roles, folder: Path) -> None:
        """Write the weights."""
        if self.config.full:
            saving.save_full(roles.loaded, folder)
        else:
            saving.save_policy(roles, folder, role=self.role)


def fit(
    place: RunPlace, roles: Roles, inputs: SftInputs, *, save_every: int | None = None
) -> SftResult | None:
    """Train on the demonstrations; None in a process that is not the first of several.

    Raises:
        Invalid: every demonstration is longer than the plan's limit.
    """
    plan = inputs.plan
    config = config_of(plan, is_starter=inputs.is_starter, seed=inputs.seed)
    tokens = token_budgets.of(
        roles,
        inputs.token_budget,
        config.micro_tokens,
        recomputes=inputs.checkpoints_gradients,
    )
    config = replace(config, lora=adapter_shape.of(plan.lora, roles), micro_tokens=tokens)
    train, too_long = encode(roles, inputs.train, inputs.instruction, plan.max_tokens)
    heldout, _ = encode(roles, inputs.heldout, inputs.instruction, plan.max_tokens)
    if not train:
        raise Invalid(f"all {too_long} demonstrations are longer than {plan.max_tokens} tokens")
    if too_long:
        place.say(f"{too_long} demonstrations are too long and left out.")
    if inputs.checkpoints_gradients:
        if not config.full and not roles.has_adapter(config.adapter):
            # PEFT needs an adapter before the base can recompute its activations.
            roles.add_adapter(config.adapter, config.lora, seed=config.seed)
        roles.checkpoint_gradients(True)
    rows = finetuning.rows_of(roles, config)
    if not rows.is_exact:
        place.say(f"Demonstrations do not share rows: {rows.why}.")
    usual = sft_search.usual_rate(roles, config, is_starter=inputs.is_starter)
    config = replace(config, learning_rate=plan.learning_rate or usual)
    config, found = sft_search.settle(place, roles, plan, config, rows, train, heldout)
    state = TrainingState()
    training_loop.restore(place, state)
    loop = finetuning.train(roles, train, config, state, rows)
    end = training_loop.follow(
        place, loop, state, save_every=save_every, note=NOTE, room=roles.room
    )
    roles.gather()
    place.leave_team()
    if not place.is_first:
        return None
    role = BASE if config.full else config.adapter
    metrics: dict[str, Any] = {**end.summary, **found, "too_long": too_long}
    if heldout:
        measured = _within_share(place, train, heldout, config, end.step)
        metrics["heldout/loss"] = finetuning.evaluate(roles, role, measured, config, rows)
        metrics["heldout/demonstrations"] = len(measured)
        place.metrics(end.step, {"heldout/loss": metrics["heldout/loss"]})
    trained_parameters.say(place, roles, [role])
    return SftResult(config, role, end, metrics, rows, trained_parameters.of(roles, [role]))


def _within_share(
    place: RunPlace,
    train: Sequence[TokenizedDemonstration],
    heldout: Sequence[TokenizedDemonstration],
    config: SftConfig,
    steps: int,
) -> Sequence[TokenizedDemonstration]:
    """Return as many held-out demonstrations as can be measured within the share for it.

    Counted in tokens; a few are measured however short the training was.
    """
    sizes = [packing.tokens_of(row) for row in train]
    seen = steps * min(config.batch_size, len(train)) * sum(sizes) / len(sizes)
    shuffled = random.Random(config.seed).sample(heldout, len(heldout))
    tokens = list(accumulate(map(packing.tokens_of, shuffled)))
    fitting = bisect_right(tokens, LOOKS_SHARE * seen / SCORING_COST)
    count = max(HELDOUT_LEAST, fitting)
    if count >= len(heldout):
        return heldout
    place.say(
        f"The held-out loss is measured on {count} of {len(heldout)} demonstrations: measuring "
        f"takes at most {LOOKS_SHARE:.0%} of the training time; a longer training allows more."
    )
    return shuffled[:count]


def config_of(plan: SftPlan, *, is_starter: bool, seed: int) -> SftConfig:
    """Return the loop's settings; a starter is always trained in full.

    A learning rate that the plan leaves open is the loop's default; `sft_search` does better.
    """
    is_full = is_starter or bool(plan.is_full)
    return SftConfig(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate or SftConfig().learning_rate,
        max_steps=plan.max_steps,
        full=is_full,
        lora=LoraSettings(plan.lora.r, plan.lora.alpha),
        adapter=SFT,
        seed=seed,
    )


def build_starter(
    plan: Starter,
    demonstrations: Sequence[PromptAndResponse],
    instruction: str,
    *,
    seed: int,
    device: str,
) -> LoadedModel:
    """Build a small model with a tokenizer for the words of the demonstrations."""
    texts = [instruction]
    for demonstration in demonstrations:
        texts += [turn["content"] for turn in demonstration.messages]
        texts.append(demonstration.text)
    loaded = starter.build(
        texts,
        vocab_size=plan.vocabulary,
        width=plan.width,
        layers=plan.layers,
        heads=plan.heads,
        seed=seed,
    )
    loaded.model.to(device)  # type: ignore[arg-type]
    return loaded


def encode(
    roles: Roles, demonstrations: Sequence[PromptAndResponse], instruction: str, max_tokens: int
) -> tuple[list[TokenizedDemonstration], int]:
    """Return the demonstrations that fit, as token ids, and the number of the others."""
    limit = min(max_tokens, models.context_tokens(roles.causal) or max_tokens)
    encoded = []
    for demonstration in demonstrations:
        prompt = token_ids.prompt_ids(roles.loaded, demonstration.messages, instruction)
        response = tuple(template.encode_response(roles.loaded, demonstration.text, finished=True))
        if len(prompt) + len(response) <= limit:
            encoded.append(TokenizedDemonstration(prompt, response))
    return encoded, len(demonstrations) - len(encoded)
