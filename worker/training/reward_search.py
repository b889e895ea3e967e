"""Settles what a plan leaves open for a reward model: its learning rate, and its epochs.

The decisions are in `app.domain.rate_search`, the trials in `rate_trials`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from app.domain import rate_search
from app.domain.rate_search import Choice, Ground, Look, MeasuredOn
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward.ranking_loss import Terms, fit_of, loss_of, split_by_length
from worker.rlhf.reward.reward_model import RewardConfig, RewardRun
from worker.training import rate_trials, reward
from worker.training.reward import RewardInputs
from worker.training.training_loop import RunPlace

EPOCHS_UNWATCHED: Final = 3
"""Most epochs of a plan without a number of them if nothing is held out to end the run early."""


def settle(
    place: RunPlace, roles: Roles, inputs: RewardInputs
) -> tuple[RewardInputs, dict[str, Any]]:
    """Return the inputs with a plan that leaves nothing open, and metrics that say how.

    Raises:
        Interrupted: the run was asked to stop during the search.
    """
    plan = inputs.plan
    if plan.reward.learning_rate is not None and plan.reward.epochs is not None:
        return inputs, {}
    train, _ = split_by_length(inputs.train, plan.reward.max_tokens)
    heldout, _ = split_by_length(inputs.heldout, plan.reward.max_tokens)
    epochs = plan.reward.epochs_for(max(1, len(train)))
    if plan.reward.epochs is None and not heldout:
        epochs = min(epochs, EPOCHS_UNWATCHED)
    settled = replace(plan.reward, epochs=epochs)
    open_inputs = replace(inputs, plan=replace(plan, reward=settled))
    if settled.learning_rate is not None or not train:  # with nothing to train on, the loop refuses
        return open_inputs, {}
    choice = rate_trials.kept(
        place,
        _asked(open_inputs),
        lambda: _choose(place, roles, open_inputs, train, heldout),
    )
    settled = replace(settled, learning_rate=choice.rate)
    chosen = replace(inputs, plan=replace(plan, reward=settled))
    return chosen, rate_trials.metrics_of(choice)


def _choose(
    place: RunPlace,
    roles: Roles,
    inputs: RewardInputs,
    train: Sequence[RankedPrompt],
    heldout: Sequence[RankedPrompt],
) -> Choice:
    plan = inputs.plan.reward
    config = reward.begin(roles, inputs)
    usual = rate_search.usual_rate(models.output_width(roles.causal), config.lora.alpha)
    seen = plan.steps(len(train)).total * plan.batch_size * plan.ensemble
    ground = Ground(len(train), seen, len(heldout), plan.batch_size, plan.search_share)
    search = rate_search.design(ground, usual)
    epochs = plan.epochs_for(len(train))
    if search is None:
        return Choice(
            usual, usual, epochs, MeasuredOn.NOTHING, 0, plan.batch_size, plan.search_share, 0.0
        )
    # A trial is shorter than a warm-up.
    small = replace(
        config, members=1, max_steps=None, batch_rankings=search.batch_size, warmup_share=0.0
    )
    parts = list(rate_trials.parts(search, train, heldout, inputs.plan.seed))
    # With Adam, a batch of a fourth has the same effect at half the rate (Malladi et al.,
    # arXiv 2205.10330, the square-root rule).
    scale = (search.batch_size / plan.batch_size) ** 0.5

    def start(rate: float, part: int, _: int) -> _Tried:
        tried = replace(small, learning_rate=rate * scale)
        return _Tried(RewardRun(roles, *parts[part], tried, TrainingState()))

    weights = _weights(roles, small)
    rate, done = rate_trials.run(place, search, weights, start, len(parts))
    return Choice(
        rate,
        usual,
        epochs,
        search.measured,
        search.heldout,
        search.batch_size,
        plan.search_share,
        search.cost / seen,
        done,
    )


def _weights(roles: Roles, config: RewardConfig) -> Mapping[str, torch.nn.Parameter]:
    """Return what a trial changes."""
    return RewardRun(roles, [], [], config, TrainingState()).weights


@dataclass(frozen=True, slots=True)
class _Tried:
    """A reward model at a rate; a `rate_trials.TriedRun`."""

    run: RewardRun

    @property
    def weights(self) -> Mapping[str, torch.nn.Parameter]:
        return self.run.weights

    def step(self) -> object:
        return self.run.step()

    def look(self) -> Look:
        if self.run.config.criteria:  # ratings have one loss together
            fit = self.run.evaluate()
            return Look((fit.loss,), fit.accuracy)
        scores = self.run.heldout_scores()
        losses = loss_of(scores, self.run.heldout, Terms(centering=0.0))
        return Look(tuple(losses.tolist()), fit_of(scores, self.run.heldout).accuracy)


def _asked(inputs: RewardInputs) -> dict[str, Any]:
    """Return what a choice is for."""
    return {
        "plan": inputs.plan.to_json(),
        "train": len(inputs.train),
        "heldout": len(inputs.heldout),
    }
