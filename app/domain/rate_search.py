"""The choice of a learning rate by a short search: successive halving on held-out rows.

A few rates around the usual one for the model's size are tried on a part of the data. The better
half goes on, and the best of the last is taken. Only the decisions are made here; a `Trainer`
does the work. Everything is a function of its inputs, so a repeated search ends the same. Rows are
the comparisons of a reward model, or the demonstrations of SFT.

The cost is counted in rows trained on, so that it does not depend on the machine. A row that is
only scored counts as a third, since there is no backward pass.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import product
from typing import Any, Protocol

from app.domain.step_counts import SCORING_COST


@dataclass(frozen=True, slots=True)
class Halving:
    """A successive halving: what is tried, and for how long.

    Attributes:
        factors: the rates, as multiples of the usual one.
        stages: relative lengths of the stages; each has half the rates of the one before.
    """

    factors: tuple[float, ...]
    stages: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of rates in each stage."""
        counts = [len(self.factors)]
        while len(counts) < len(self.stages):
            counts.append(math.ceil(counts[-1] / 2))
        return tuple(counts)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the rate of a kind of training is searched for.

    Attributes:
        rows: what it is trained on, for people.
        halvings: to choose from, the most thorough first.
        batch_shares: sizes of a search's steps, as shares of the training's; the first that leaves
            time for enough steps is taken.
        starts_anew: whether each stage trains the initial weights again, with a schedule that ends
            with the stage, instead of continuing the stage before.
    """

    rows: str
    halvings: tuple[Halving, ...]
    batch_shares: tuple[float, ...]
    starts_anew: bool


FACTORS = (0.1, 0.3, 1.0, 3.0)
REWARD = Recipe(
    rows="comparisons",
    halvings=(Halving(FACTORS, (1, 2)), Halving((0.3, 1.0), (1,))),
    batch_shares=(0.25,),
    starts_anew=False,
)
SFT = Recipe(
    rows="demonstrations",
    halvings=(
        Halving((0.1, 0.3, 1.0, 3.0, 10.0, 30.0), (1, 3)),
        Halving((0.1, 0.3, 1.0, 3.0, 10.0), (1, 2)),
        Halving((0.3, 1.0, 3.0), (1,)),
    ),
    batch_shares=(0.25, 0.125, 0.0625),
    starts_anew=True,
)
RATE_MOST = 1e-2
STEPS_LEAST = 4
"""Steps of the first stage below which nothing can be told apart."""

HELDOUT_LEAST = 16
"""Held-out rows below which a search measures on some of the training rows instead."""

HELDOUT_MOST = 64
FOLDS = 2
FOLD_SHARE = 0.2
"""Number of trials of each rate, and share of the prompts that each sets aside."""

BATCH_LEAST = 4
"""A search takes smaller steps than the training, and thus more of them in the same time."""


class MeasuredOn(StrEnum):
    """What the tried rates were measured on."""

    HELDOUT = "heldout"
    FOLDS = "folds"  # parts of the training rows, set aside in turn
    NOTHING = "nothing"  # no search: too few rows


@dataclass(frozen=True, slots=True)
class Look:
    """A trial measured: the loss of each held-out row, and the share predicted right, if any is."""

    losses: tuple[float, ...]
    accuracy: float | None

    @property
    def loss(self) -> float:
        """The mean loss; infinite if training diverged."""
        mean = sum(self.losses) / len(self.losses)
        return mean if math.isfinite(mean) else math.inf


class Trainer(Protocol):
    """A model in training at one rate."""

    def advance(self, steps: int) -> Look:
        """Take that many steps, and measure; after those before, unless the recipe starts anew."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The data of a search and its limits, in rows.

    Attributes:
        rows: to train on.
        seen: those that the training will see, an epoch counting all; the search may see a `share`
            of them.
        heldout: rows that are never trained on.
        batch_size: of the training.
        share: of the training time.
    """

    rows: int
    seen: int
    heldout: int
    batch_size: int
    share: float

    def small_batch(self, share: float) -> int:
        """The rows of a step of the search."""
        return min(self.batch_size, max(BATCH_LEAST, math.ceil(self.batch_size * share)))


@dataclass(frozen=True, slots=True)
class Design:
    """What a search does.

    Attributes:
        rates: to try, ascending; the usual one is `usual`.
        usual: the rate that is taken unless another is clearly better.
        stages: steps of each rate in each stage; each has half the rates of the one before.
        batch_size: rows of a step.
        measured: what the rates are measured on.
        heldout: rows that each look measures.
        starts_anew: whether a stage does not continue the one before.
    """

    rates: tuple[float, ...]
    usual: float
    stages: tuple[int, ...]
    batch_size: int
    measured: MeasuredOn
    heldout: int
    starts_anew: bool = False

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of rates in each stage."""
        return Halving(self.rates, self.stages).counts

    @property
    def folds(self) -> int:
        """How often each rate is tried, on different rows."""
        return FOLDS if self.measured is MeasuredOn.FOLDS else 1

    @property
    def steps(self) -> int:
        """The steps of all trials together."""
        return self.folds * sum(n * s for n, s in zip(self.counts, self.stages, strict=True))

    @property
    def cost(self) -> float:
        """What the search costs, in rows trained on."""
        looks = self.folds * sum(self.counts)
        return self.steps * self.batch_size + looks * self.heldout * SCORING_COST


@dataclass(frozen=True, slots=True)
class Trial:
    """How far a rate came: its steps, and its held-out loss and accuracy at the end of them."""

    rate: float
    steps: int
    loss: float | None  # None: not finite
    accuracy: float | None  # None: not measured


@dataclass(frozen=True, slots=True)
class Choice:
    """The rate that a training takes, and why.

    `epochs` is the number that goes with it, if the search has settled it. `share` is that of the
    training time which the search was given, and `took` what it used. Without a search, `trials`
    is empty. `rows` says what the training learns from.
    """

    rate: float
    usual: float
    epochs: int | None
    measured: MeasuredOn
    heldout: int
    batch_size: int
    share: float
    took: float
    trials: tuple[Trial, ...] = ()
    rows: str = REWARD.rows

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Choice":
        """Read a recorded choice."""
        trials = tuple(Trial(**trial) for trial in data["trials"])
        return cls(**{**data, "trials": trials, "measured": MeasuredOn(data["measured"])})

    @property
    def sentence(self) -> str:
        """What was chosen and why, in a sentence."""
        chosen = f"Learning rate {self.rate:.2g}{self._with_epochs}"
        if self.measured is MeasuredOn.NOTHING:
            usual = "usual one" if self.epochs is None else "usual ones"
            why = (
                f"too few {self.rows} for a search within {100 * self.share:.0f} % of the training "
                "time"
                if self.share
                else "the plan leaves no time for a search"
            )
            return f"{chosen}, the {usual} for a model of this size: {why}."
        rates = ", ".join(f"{rate:.2g}" for rate in sorted({trial.rate for trial in self.trials}))
        where = (
            f"{self.heldout} held-out {self.rows}"
            if self.measured is MeasuredOn.HELDOUT
            else f"{FOLDS} × {self.heldout} {self.rows} set aside in turn from the training data, "
            "for lack of held-out ones"
        )
        return (
            f"{chosen}, chosen from the rates {rates} by their loss on {where}; the search took "
            f"{100 * self.took:.0f} % of the training time."
        )

    @property
    def _with_epochs(self) -> str:
        if self.epochs is None:
            return ""
        return f" and up to {self.epochs} epoch{'' if self.epochs == 1 else 's'}"


def usual_rate(width: int, alpha: int) -> float:
    """Return the usual peak learning rate of a LoRA adapter.

    It is that of Schulman et al., "LoRA Without Regret" (2025), fitted to Llama models:
    5e-4 · (2000 / width)^0.781, where their adapters have alpha 32. Departure: inverse in alpha,
    which multiplies the adapter's effect, and limited where the fit would extrapolate.

    Args:
        width: of the hidden states.
        alpha: of the adapter.
    """
    rate = 5e-4 * (2000.0 / width) ** 0.781 * 32.0 / alpha
    return _rounded(min(rate, RATE_MOST / FACTORS[-1]))


def usual_full_rate(width: int) -> float:
    """Return the usual peak learning rate of SFT with all weights: a tenth of an adapter's.

    "LoRA Without Regret" (see `usual_rate`) finds that ratio for models of all sizes.
    """
    return _rounded(usual_rate(width, 32) / 10.0)


def design(ground: Ground, usual: float, recipe: Recipe = REWARD) -> Design | None:
    """Return the largest search within its share of the time; None if none is worth its time."""
    if ground.heldout >= HELDOUT_LEAST:
        measured, heldout, folds = MeasuredOn.HELDOUT, min(ground.heldout, HELDOUT_MOST), 1
    else:
        aside = int(ground.rows * FOLD_SHARE)
        measured, heldout, folds = MeasuredOn.FOLDS, min(aside, HELDOUT_MOST), FOLDS
        if heldout < HELDOUT_LEAST:
            return None
    budget = ground.share * ground.seen / folds
    for halving, share in product(recipe.halvings, recipe.batch_shares):
        batch = ground.small_batch(share)
        for looked in _looks(budget, heldout, halving):
            unit = _steps_within(budget, batch, looked, halving)
            if unit >= STEPS_LEAST:
                rates = tuple(_rounded(usual * factor) for factor in halving.factors)
                stages = tuple(unit * stage for stage in halving.stages)
                return Design(rates, usual, stages, batch, measured, looked, recipe.starts_anew)
    return None


def _looks(budget: float, heldout: int, halving: Halving) -> tuple[int, int]:
    """Return the held-out rows of a look: those that half the budget allows, and the fewest."""
    half = int(budget / 2 / (SCORING_COST * sum(halving.counts)))
    return min(heldout, max(HELDOUT_LEAST, half)), HELDOUT_LEAST


def _steps_within(budget: float, batch: int, looked: int, halving: Halving) -> int:
    """Return the steps of a stage of relative length 1."""
    left = budget - SCORING_COST * looked * sum(halving.counts)
    lengths = sum(n * stage for n, stage in zip(halving.counts, halving.stages, strict=True))
    return int(left / batch / lengths)


def run(search: Design, start: Callable[[float], Trainer]) -> tuple[float, tuple[Trial, ...]]:
    """Return the best rate, and every trial in the order of the rates.

    The usual rate stays, and wins, unless another is better by more than one standard error of the
    difference over the held-out rows. Once it is out, the lowest does: a training is longer than
    its trials, in which a rate may do well that later destroys what was learned.

    Args:
        search: what to do.
        start: begins a training at a rate.
    """
    running = {rate: start(rate) for rate in search.rates}
    alive = list(search.rates)
    steps_done = 0
    last: dict[float, Look] = {}
    steps_of: dict[float, int] = {}
    for stage, steps in enumerate(search.stages):
        steps_done = steps if search.starts_anew else steps_done + steps
        for rate in alive:
            last[rate] = running[rate].advance(steps)
            steps_of[rate] = steps_done
        alive = _ordered(alive, last, search.usual)
        is_last = stage == len(search.stages) - 1
        for rate in [] if is_last else alive[math.ceil(len(alive) / 2) :]:
            del running[rate]  # frees its memory
        alive = alive[:1] if is_last else alive[: math.ceil(len(alive) / 2)]
    trials = tuple(
        Trial(
            rate,
            steps_of[rate],
            round(last[rate].loss, 6) if math.isfinite(last[rate].loss) else None,
            None if (accuracy := last[rate].accuracy) is None else round(accuracy, 6),
        )
        for rate in search.rates
    )
    return alive[0], trials


def _ordered(rates: Sequence[float], looks: Mapping[float, Look], usual: float) -> list[float]:
    """Return the rates from best to worst; the favored one precedes all not clearly better."""
    by_loss = sorted(rates, key=lambda rate: (looks[rate].loss, abs(math.log(rate / usual))))
    favored = usual if usual in by_loss else min(by_loss)
    others = [rate for rate in by_loss if rate != favored]
    ahead = sum(_is_clearly_better(looks[rate], looks[favored]) for rate in others)
    return [*others[:ahead], favored, *others[ahead:]]


def _is_clearly_better(look: Look, other: Look) -> bool:
    if not math.isfinite(other.loss) or not math.isfinite(look.loss):
        return look.loss < other.loss
    gains = [b - a for a, b in zip(look.losses, other.losses, strict=True)]
    mean = sum(gains) / len(gains)
    if len(gains) < 2:
        return mean > 0.0
    variance = sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)
    return mean > math.sqrt(variance / len(gains))


def _rounded(rate: float) -> float:
    """Return the rate with two digits, so that it can be written down and repeated."""
    return float(f"{rate:.2g}")
