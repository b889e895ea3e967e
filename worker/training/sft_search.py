"""Chooses the learning rate of SFT where a plan leaves it open.

Each rate trains the same initial weights for a few small steps, with a schedule that ends with
them: a miniature of the whole training. Short trainings are best at higher rates than long ones, so
a rate is tried as its equivalent in the miniature. The decisions are in `app.domain.rate_search`,
the trials in `rate_trials`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from app.domain import rate_search
from app.domain.plan import SftPlan
from app.domain.rate_search import SFT, Choice, Design, Ground, Look, MeasuredOn
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.layout_probe import LayoutProbe
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models
from worker.rlhf.model.roles import Roles
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig, SftRun
from worker.training import rate_trials
from worker.training.training_loop import RunPlace

STARTER_RATE: Final = 1e-3
HORIZON: Final = 0.32
"""The best rate falls with this power of the data seen (Bjorck et al., arXiv 2409.19913)."""

GROUPS: Final = 16
"""A look gives the loss of each of so many groups of demonstrations, enough to see their spread."""

Demonstrations = Sequence[TokenizedDemonstration]


def usual_rate(roles: Roles, config: SftConfig, *, is_starter: bool) -> float:
    """Return the usual rate of a model of this size."""
    if is_starter:
        return STARTER_RATE
    width = models.output_width(roles.causal)
    if config.full:
        return rate_search.usual_full_rate(width)
    return rate_search.usual_rate(width, config.lora.alpha)


def settle(
    place: RunPlace,
    roles: Roles,
    plan: SftPlan,
    config: SftConfig,
    rows: LayoutProbe,
    train: Demonstrations,
    heldout: Demonstrations,
) -> tuple[SftConfig, dict[str, Any]]:
    """Return the settings with the rate that the plan leaves open, and metrics that say how.

    Args:
        place: where the run takes place.
        roles: the model.
        plan: the settings.
        config: those of the loop; the rate in it is the usual one.
        rows: whether demonstrations share rows.
        train: demonstrations to imitate.
        heldout: demonstrations that are never trained on.

    Raises:
        Interrupted: the run was asked to stop during the search.
    """
    if plan.learning_rate is not None:
        return config, {}
    counts = {"train": len(train), "heldout": len(heldout)}
    choice = rate_trials.kept(
        place,
        {"config": config.to_json(), "share": plan.search_share, **counts},
        lambda: _choose(place, roles, plan, config, rows, train, heldout),
    )
    return replace(config, learning_rate=choice.rate), rate_trials.metrics_of(choice)


def _choose(
    place: RunPlace,
    roles: Roles,
    plan: SftPlan,
    config: SftConfig,
    rows: LayoutProbe,
    train: Demonstrations,
    heldout: Demonstrations,
) -> Choice:
    seen = min(plan.steps(len(train)).total * plan.batch_size, plan.epochs * len(train))
    ground = Ground(len(train), seen, len(heldout), plan.batch_size, plan.search_share)
    usual = config.learning_rate
    search = rate_search.design(ground, usual, SFT)
    nothing = Choice(
        usual,
        usual,
        None,
        MeasuredOn.NOTHING,
        heldout=0,
        batch_size=plan.batch_size,
        share=plan.search_share,
        took=0.0,
        rows=SFT.rows,
    )
    if search is None:
        return nothing
    starts = _Starts(roles, config, rows, search, seen, train, heldout)
    weights = starts.weights()
    rate, done = rate_trials.run(place, search, weights, starts.start, len(starts.parts))
    return replace(
        nothing,
        rate=rate,
        measured=search.measured,
        heldout=search.heldout,
        batch_size=search.batch_size,
        took=search.cost / seen,
        trials=done,
    )


class _Starts:
    """Begins trials of a search."""

    def __init__(
        self,
        roles: Roles,
        config: SftConfig,
        rows: LayoutProbe,
        search: Design,
        seen: int,
        train: Demonstrations,
        heldout: Demonstrations,
    ) -> None:
        self.roles, self.rows, self.seen = roles, rows, seen
        self.parts = list(rate_trials.parts(search, train, heldout, config.seed))
        # With Adam, a batch of a fourth has the same effect at half the rate (Malladi et al.,
        # arXiv 2205.10330, the square-root rule).
        self.batch_scale = (search.batch_size / config.batch_size) ** 0.5
        self.config = replace(config, batch_size=search.batch_size, epochs=1_000_000)

    def weights(self) -> Mapping[str, torch.nn.Parameter]:
        """Return what a trial changes."""
        role, _ = finetuning.begin(self.roles, self.config, TrainingState())
        return self.roles.named_parameters_of(role)

    def start(self, rate: float, part: int, steps: int) -> "_Tried":
        """Begin a trial at a rate of the training, with a schedule of so many steps."""
        shorter = self.seen / (steps * self.config.batch_size)
        scaled = rate * self.batch_scale * max(1.0, shorter) ** HORIZON
        config = replace(self.config, learning_rate=scaled, max_steps=steps)
        train, heldout = self.parts[part]
        return _Tried(SftRun(self.roles, train, config, TrainingState(), self.rows), heldout)


@dataclass(frozen=True, slots=True)
class _Tried:
    """SFT at a rate; a `rate_trials.TriedRun`."""

    run: SftRun
    heldout: Demonstrations

    @property
    def weights(self) -> Mapping[str, torch.nn.Parameter]:
        return self.run.weights

    def step(self) -> object:
        return self.run.step()

    def look(self) -> Look:
        """Return the loss of each group, weighted so that their mean is the loss of all."""
        run = self.run
        groups = list(_grouped(self.heldout))
        counts = [sum(len(row.response_ids) for row in group) for group in groups]
        losses = [
            finetuning.evaluate(run.roles, run.role, group, run.config, run.rows)
            for group in groups
        ]
        mean = sum(counts) / len(counts)
        weighted = (loss * n / mean for loss, n in zip(losses, counts, strict=True))
        return Look(tuple(weighted), None)


def _grouped(demonstrations: Demonstrations) -> Iterator[Demonstrations]:
    size = max(1, len(demonstrations) // GROUPS)
    for first in range(0, len(demonstrations), size):
        yield demonstrations[first : first + size]
