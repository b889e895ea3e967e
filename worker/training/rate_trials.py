"""Tries learning rates for a training: the work of `app.domain.rate_search`.

The tried rates share the weights of one model, which are put back between trials. What was chosen
is kept in the run's folder, so that an attempt that resumes does not search again. The training
that a rate is for supplies a `TriedRun`.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import torch
from torch import Tensor

from app.domain import rate_search
from app.domain.rate_search import FOLD_SHARE, FOLDS, Choice, Design, Look, MeasuredOn, Trial
from worker.orders import Interrupted
from worker.training.training_loop import RunPlace

FILE: Final = "rate-search.json"
METRIC: Final = "rate_search"
NOTE: Final = "searching for a learning rate"


class HasPrompt(Protocol):
    """A row of the data."""

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The tokens of its prompt."""


Row = TypeVar("Row", bound=HasPrompt)
Weights = Mapping[str, torch.nn.Parameter]


class TriedRun(Protocol):
    """A training that is tried at a rate."""

    @property
    def weights(self) -> Weights:
        """What it changes."""

    def step(self) -> object:
        """Take an optimizer step."""

    def look(self) -> Look:
        """Measure it."""


Start = Callable[[float, int, int], TriedRun]
"""Begins a training, given the rate, which part of the data it is on, and the steps it takes."""


def kept(place: RunPlace, asked: Mapping[str, Any], choose: Callable[[], Choice]) -> Choice:
    """Return the choice of an earlier attempt at the same run, or choose, say and keep it.

    Args:
        place: where the run takes place.
        asked: what the choice is for; an attempt with other settings searches again.
        choose: does the search.
    """
    wanted: dict[str, Any] = json.loads(json.dumps(asked, default=str))
    choice = place.once(lambda: _recorded(place, wanted))
    if choice is None:
        choice = choose()
        place.say(choice.sentence)
        if place.is_first:
            file = place.workdir / FILE
            aside = file.with_suffix(".part")
            aside.write_text(
                json.dumps({"asked": wanted, "choice": choice.to_json()}), encoding="utf-8"
            )
            aside.replace(file)
    return choice


def metrics_of(choice: Choice) -> dict[str, Any]:
    """Return what is recorded of a choice with the model."""
    return {METRIC: {**choice.to_json(), "sentence": choice.sentence}}


def parts(
    search: Design, train: Sequence[Row], heldout: Sequence[Row], seed: int
) -> Iterator[tuple[Sequence[Row], Sequence[Row]]]:
    """Yield what trials are trained on and measured on: once, or once for each fold."""
    order = random.Random(seed)
    if search.measured is MeasuredOn.HELDOUT:
        yield train, order.sample(heldout, search.heldout)
        return
    prompts = list(dict.fromkeys(row.prompt_ids for row in train))
    order.shuffle(prompts)
    size = max(1, int(len(prompts) * FOLD_SHARE))
    for fold in range(FOLDS):
        aside = set(prompts[fold * size : (fold + 1) * size])
        measured = [row for row in train if row.prompt_ids in aside]
        rest = [row for row in train if row.prompt_ids not in aside]
        if measured and rest:  # rows of one prompt only cannot be told apart
            yield rest, measured[: search.heldout]


def run(
    place: RunPlace, search: Design, weights: Weights, start: Start, count: int
) -> tuple[float, tuple[Trial, ...]]:
    """Return the best rate and every trial; the weights are as before afterwards.

    Args:
        place: where the run takes place.
        search: what to do.
        weights: of the model that is tried.
        start: begins a training.
        count: the parts of the data, on each of which every rate is tried.

    Raises:
        Interrupted: the run was asked to stop.
    """
    with _as_before(weights) as initial:
        trials = _Trials(place, search, start, count, initial)
        best = rate_search.run(search, trials.start)
    return place.once(lambda: best)  # processes must not differ in it


@contextmanager
def _as_before(weights: Weights) -> Iterator[Mapping[str, Tensor]]:
    """Give the weights before any trial, and put them back afterwards."""
    initial = _copied(weights)
    try:
        yield initial
    finally:
        _put(weights, initial)


class _Trials:
    """Begins trials, and counts the steps that all of them take."""

    def __init__(
        self,
        place: RunPlace,
        search: Design,
        start: Start,
        parts: int,
        initial: Mapping[str, Tensor],
    ) -> None:
        self.place, self.search, self.begin, self.parts = place, search, start, parts
        self.initial = initial
        self.done = 0
        self.total = search.steps // search.folds * parts

    def start(self, rate: float) -> "_Trial":
        """Begin the trial of a rate."""
        return _Trial(self, rate)

    def count(self) -> None:
        """Report a step, and obey orders.

        Raises:
            Interrupted: the run was asked to stop.
        """
        self.done += 1
        self.place.report(self.done, self.total, NOTE)
        if self.place.should_stop() in {"cancel", "preempt"}:
            raise Interrupted(f"{self.place.title} was asked to stop while {NOTE}")


class _Trial:
    """One rate, on each of the parts; a `rate_search.Trainer`."""

    def __init__(self, trials: _Trials, rate: float) -> None:
        self.trials, self.rate = trials, rate
        self.runs: list[TriedRun] = []
        self.weights: list[Mapping[str, Tensor]] = []

    def advance(self, steps: int) -> Look:
        """Take that many steps on each part; return the looks at all of them together."""
        if self.trials.search.starts_anew or not self.runs:
            self._begin(steps)
        looks = [self._advance(number, steps) for number in range(len(self.runs))]
        losses = tuple(loss for look in looks for loss in look.losses)
        accuracies = [look.accuracy for look in looks if look.accuracy is not None]
        return Look(losses, sum(accuracies) / len(accuracies) if accuracies else None)

    def _begin(self, steps: int) -> None:
        count = self.trials.parts
        self.runs = [self.trials.begin(self.rate, part, steps) for part in range(count)]
        self.weights = [self.trials.initial] * count

    def _advance(self, number: int, steps: int) -> Look:
        run = self.runs[number]
        _put(run.weights, self.weights[number])
        for _ in range(steps):
            run.step()
            self.trials.count()
        look = run.look()
        if not self.trials.search.starts_anew:  # else nobody continues from here
            self.weights[number] = _copied(run.weights)
        return look


def _copied(weights: Weights) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in weights.items()}


@torch.no_grad()
def _put(weights: Weights, values: Mapping[str, Tensor]) -> None:
    for name, parameter in weights.items():
        parameter.copy_(values[name])


def _recorded(place: RunPlace, asked: Mapping[str, Any]) -> Choice | None:
    """Return what an earlier attempt at the same run has chosen."""
    file = place.workdir / FILE
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return Choice.from_json(found["choice"]) if found["asked"] == asked else None
