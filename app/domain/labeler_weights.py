"""Weights of labelers, estimated from gold answers and from how far labelers agree.

A one-coin model with a slot term, fitted by expectation–maximization (Dawid and Skene 1979, reduced
to one skill per labeler). A unit is an unordered pair of completions, and one of the two is better:
z = +1 if it is the first in canonical order, -1 otherwise. Labeler l chooses the first one with
probability σ(a_l z + b_l x), where x is +1 if the first one was also shown first, -1 if it was
shown second, and 0 where the order shown is not known. a_l is the labeler's skill, in log-odds, and
b_l the pull of the first place on screen. Departures from Dawid and Skene: normal priors on both,
so that a labeler with few choices stays near the average, and known answers for gold units.

Agreement alone cannot tell a panel from its mirror image; the prior's positive mean decides, so the
majority of labelers is assumed to be better than chance. How weights are used is left to others.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.krippendorff import Indices, Numbers, narrowed, parts
from app.domain.measures import LEVEL, Interval, Measure, Undefined
from app.errors import Invalid

Array = NDArray[np.float64]

SKILL_MEAN, SKILL_SD = 1.0, 1.5  # an accuracy of 73 %; 38 % to 92 % within one deviation
SLOT_SD = 1.5
FEWEST = 20  # shared choices below which a labeler keeps the weight 1
WEIGHT_MOST = 3.0
RESAMPLES = 100
MOST_RESAMPLED = 100_000  # choices
_ITERATIONS, _CLOSE_ENOUGH = 100, 1e-6
_NEWTON_STEPS = 3
_WARM_ITERATIONS, _WARM_CLOSE_ENOUGH = 15, 2e-3
_CELLS = 6  # of a labeler: three orders shown, two signs
_SHOWN = np.array([-1.0, 0.0, 1.0])[:, None]
_SIGN = np.array([-1.0, 1.0])[None, :]


@dataclass(frozen=True, slots=True)
class Choices:
    """Choices between two completions as parallel arrays; ties are left out by the caller.

    Entry e says that labeler ``labelers[labeler[e]]`` prefers the first completion of unit
    ``unit[e]`` (``sign[e]`` = 1) or the second (-1), and ``shown[e]`` is 1 if the first was shown
    first, -1 if second, 0 where unknown. ``owner[u]`` is what is resampled: the comparison or the
    prompt of unit u. ``known[u]`` is the gold answer's sign, or 0.
    """

    labelers: tuple[Hashable, ...]
    unit: Numbers
    labeler: Numbers
    sign: Numbers
    shown: Numbers
    owner: Numbers
    known: Numbers

    def __post_init__(self) -> None:
        """Raise Invalid where arrays do not fit each other or hold a value that has no meaning."""
        length = len(self.unit)
        for name in ("labeler", "sign", "shown"):
            if len(getattr(self, name)) != length:
                raise Invalid(f"{name} has {len(getattr(self, name))} entries for {length} choices")
        if len(self.known) != len(self.owner):
            raise Invalid(f"known has {len(self.known)} entries for {len(self.owner)} units")
        if not np.isin(self.sign, (-1, 1)).all():
            raise Invalid("a choice's sign is 1 or -1; ties are left out")


@dataclass(frozen=True, slots=True)
class ProposedWeight:
    """What the choices say of one labeler.

    ``accuracy`` is the estimated probability of choosing the better of two, apart from any pull of
    the first place; ``slot_pull`` is that pull, in log-odds. Of the ``choices``, ``shared`` are on
    units that somebody else chose on too, or whose answer is known, and ``gold`` on the latter.
    ``reason`` says why the weight is 1 where nothing was estimated.
    """

    labeler: Hashable
    choices: int
    shared: int
    gold: int
    accuracy: Measure
    slot_pull: Measure
    weight: float
    weight_interval: Interval | Undefined
    reason: str = ""

    @property
    def first_if_equal(self) -> Measure:
        """The probability of choosing what is shown first if both are equally good."""
        value, interval = self.slot_pull.value, self.slot_pull.interval
        if isinstance(value, Undefined):
            return self.slot_pull
        if isinstance(interval, Interval):
            low, high = _sigmoid(interval.low), _sigmoid(interval.high)
            interval = Interval(float(low), float(high))
        return Measure(float(_sigmoid(value)), interval, self.slot_pull.n)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a set of weights does to the majority of each unit."""

    units: int
    flipped: int
    decided_ties: int
    undecided: int  # units that had a majority and have none under the weights


def sample(choices: Choices, most: int, *, seed: int = 0) -> Choices:
    """Return the choices on randomly drawn owners, about ``most`` in all; the labelers stay."""
    if len(choices.unit) <= most:
        return choices
    owners, which = np.unique(choices.owner, return_inverse=True)
    of_entry = which[choices.unit]
    order = np.random.default_rng(seed).permutation(len(owners))
    drawn = np.cumsum(np.bincount(of_entry, minlength=len(owners))[order]) <= most
    kept = np.zeros(len(owners), dtype=bool)
    kept[order[drawn]] = True
    entries = kept[of_entry]
    units, unit = np.unique(choices.unit[entries], return_inverse=True)
    return Choices(
        choices.labelers,
        unit=narrowed(unit),
        labeler=choices.labeler[entries],
        sign=choices.sign[entries],
        shown=choices.shown[entries],
        owner=choices.owner[units],
        known=choices.known[units],
    )


def propose(
    choices: Choices, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[ProposedWeight, ...]:
    """Estimate each labeler's accuracy, slot pull and weight, with percentile bootstrap intervals.

    A weight is proportional to the skill a_l, which is how votes of independent labelers of known
    accuracy combine (Nitzan and Paroush 1982); 0 for those at or below chance, at most 3, and
    scaled so that the average choice weighs 1.
    """
    count = len(choices.labelers)
    total = np.bincount(choices.labeler, minlength=count)
    shared, gold = _checkable(choices, count)
    parameters = _fit(_Cells.of(choices), None, None, _ITERATIONS)
    drawn = _drawn(choices, parameters, seed, resamples)
    weights = _weights(parameters[:, 0], total, shared)
    drawn_weights = np.array([_weights(skills, total, shared) for skills in drawn[:, :, 0]])
    drawn_weights = drawn_weights.reshape(len(drawn), len(choices.labelers))
    return tuple(
        ProposedWeight(
            labeler,
            int(total[at]),
            int(shared[at]),
            int(gold[at]),
            _measure(float(_sigmoid(parameters[at, 0])), _sigmoid(drawn[:, at, 0]), shared[at]),
            _measure(float(parameters[at, 1]), drawn[:, at, 1], shared[at]),
            round(float(weights[at]), 2),
            _interval(drawn_weights[:, at]),
        )
        if shared[at] >= FEWEST
        else _unweighted(labeler, int(total[at]), int(shared[at]), int(gold[at]))
        for at, labeler in enumerate(choices.labelers)
    )


def changes(choices: Choices, weights: Mapping[Hashable, float]) -> Changes:
    """Count the units whose majority changes under weights; labelers without one weigh 1."""
    weight_of = np.array([weights.get(labeler, 1.0) for labeler in choices.labelers])
    units = len(choices.owner)
    plain = np.sign(np.bincount(choices.unit, choices.sign, minlength=units))
    weighted = np.zeros(units)
    for part in parts(len(choices.unit)):
        weight = choices.sign[part] * weight_of[choices.labeler[part]]
        np.add.at(weighted, choices.unit[part], weight)
    after = np.sign(np.where(np.abs(weighted) < 1e-9, 0.0, weighted))
    judged = np.bincount(choices.unit, minlength=units) > 0
    return Changes(
        units=int(judged.sum()),
        flipped=int((plain * after < 0).sum()),
        decided_ties=int(((plain == 0) & (after != 0) & judged).sum()),
        undecided=int(((plain != 0) & (after == 0)).sum()),
    )


def _unweighted(labeler: Hashable, choices: int, shared: int, gold: int) -> ProposedWeight:
    noun = "choice" if shared == 1 else "choices"
    reason = f"only {shared} {noun} can be checked against others or gold; {FEWEST} are needed"
    missing = Measure.missing(reason, shared)
    return ProposedWeight(
        labeler, choices, shared, gold, missing, missing, 1.0, Undefined(reason), reason
    )


def _checkable(choices: Choices, count: int) -> tuple[Indices, Indices]:
    """Count each labeler's choices that can be checked, and those on units with a known answer.

    A choice can be checked if its unit has another choice or a known answer.
    """
    per_unit = np.bincount(choices.unit, minlength=len(choices.owner))
    shared, gold = np.zeros((2, count), dtype=np.int64)
    for part in parts(len(choices.unit)):
        unit, labeler = choices.unit[part], choices.labeler[part]
        is_known = choices.known[unit] != 0
        shared += np.bincount(labeler[(per_unit[unit] > 1) | is_known], minlength=count)
        gold += np.bincount(labeler[is_known], minlength=count)
    return shared, gold


@dataclass(frozen=True, slots=True)
class _Cells:
    """Choices by what matters to the model: a million choices lie in a few hundred cells.

    A cell is a labeler, the order shown (-1, 0, 1) and the sign of the choice (-1, 1). ``cell`` is
    that of each choice, ``unit`` its unit.
    """

    labelers: int
    cell: Numbers
    unit: Numbers
    known: Numbers

    @classmethod
    def of(cls, choices: Choices) -> "_Cells":
        labelers = len(choices.labelers)
        cell = np.empty(len(choices.unit), dtype=np.int32)
        for part in parts(len(cell)):
            shown = choices.labeler[part].astype(np.int64) * 3 + choices.shown[part] + 1
            cell[part] = shown * 2 + (choices.sign[part] > 0)
        return cls(labelers, cell, narrowed(choices.unit), choices.known)

    def odds(self, of_cell: Array) -> Array:
        """Sum the log-odds of the cells by unit."""
        odds = np.zeros(len(self.known))
        for part in parts(len(self.cell)):
            np.add.at(odds, self.unit[part], of_cell[self.cell[part]])
        return odds

    def sums(self, of_unit: Array, repeats: Numbers | None) -> Array:
        """Sum values of units by cell, each as often as its choice counts."""
        total = np.zeros(self.labelers * _CELLS)
        for part in parts(len(self.cell)):
            values = of_unit[self.unit[part]]
            if repeats is not None:
                values = values * repeats[part]
            total += np.bincount(self.cell[part], values, len(total))
        return total


def _fit(
    cells: _Cells,
    repeats: Numbers | None,
    start: Array | None,
    iterations: int,
    close_enough: float = _CLOSE_ENOUGH,
) -> Array:
    """Return skill and slot pull of each labeler, shape (labelers, 2), by EM.

    Args:
        cells: the choices.
        repeats: how often each choice counts, as a resample drew it; None: once.
        start: parameters to begin with; None: the prior's mean.
        iterations: at most so many.
        close_enough: the largest move of a parameter after which to stop.
    """
    parameters = np.tile([SKILL_MEAN, 0.0], (cells.labelers, 1)) if start is None else start
    total = cells.sums(np.ones(len(cells.known)), repeats)
    for _ in range(iterations):
        likely = cells.sums(_posterior(cells, parameters), repeats)
        updated = _maximize(total - likely, likely, parameters)
        moved = np.abs(updated - parameters).max(initial=0.0)
        parameters = updated
        if moved < close_enough:
            break
    return parameters


def _posterior(cells: _Cells, parameters: Array) -> Array:
    """Return for each unit the probability that its first completion is the better one.

    A unit that a resample drew twice is two units with the same choices and the same posterior.
    """
    skill, pull = parameters[:, 0, None, None], parameters[:, 1, None, None]
    first = _log_sigmoid(_SIGN * (skill + pull * _SHOWN))
    second = _log_sigmoid(_SIGN * (-skill + pull * _SHOWN))
    posterior = _sigmoid(cells.odds((first - second).reshape(-1)))
    posterior[cells.known > 0] = 1.0
    posterior[cells.known < 0] = 0.0
    return posterior


def _maximize(unlikely: Array, likely: Array, parameters: Array) -> Array:
    """Return the parameters that fit the expected truth best, by Newton steps.

    ``likely`` is the number of choices in each cell on units whose first completion is the better
    one, ``unlikely`` on all others, as expected: a step's cost does not grow with their number.
    """
    count = len(parameters)
    counted = np.stack(
        [part.reshape(count, 3, 2) for part in (unlikely, likely)], axis=-1
    )  # labelers × shown (-1, 0, 1) × sign (-1, 1) × truth (-1, 1)
    shown, sign = _SHOWN[:, :, None], _SIGN[:, :, None]
    truth = np.array([-1.0, 1.0])[None, None, :]
    updated = parameters
    for _ in range(_NEWTON_STEPS):
        logits = updated[:, 0, None, None, None] * truth + updated[:, 1, None, None, None] * shown
        missing = counted * sign * _sigmoid(-sign * logits)
        spread = counted * _sigmoid(logits) * _sigmoid(-logits)
        axes = (1, 2, 3)
        by_skill = (missing * truth).sum(axes) - (updated[:, 0] - SKILL_MEAN) / SKILL_SD**2
        by_pull = (missing * shown).sum(axes) - updated[:, 1] / SLOT_SD**2
        aa = spread.sum(axes) + 1 / SKILL_SD**2
        bb = (spread * shown**2).sum(axes) + 1 / SLOT_SD**2
        ab = (spread * truth * shown).sum(axes)
        determinant = aa * bb - ab**2
        step = (
            np.stack([(bb * by_skill - ab * by_pull), (aa * by_pull - ab * by_skill)], axis=1)
            / determinant[:, None]
        )
        updated = updated + np.clip(step, -1.0, 1.0)
    return updated


def _drawn(choices: Choices, parameters: Array, seed: int, resamples: int) -> Array:
    """Return parameters as resamples would fit them, shape (resamples, labelers, 2).

    Resampling millions of choices would take minutes. Beyond `MOST_RESAMPLED`, a part of the owners
    is resampled, and the deviations are scaled to the size of the whole.
    """
    part = sample(choices, MOST_RESAMPLED, seed=seed)
    if part is choices:
        return _resampled(choices, parameters, seed, resamples)
    of_part = _fit(_Cells.of(part), None, parameters, _WARM_ITERATIONS)
    deviations = _resampled(part, of_part, seed, resamples) - of_part
    scaled: Array = parameters + deviations * np.sqrt(len(part.unit) / len(choices.unit))
    return scaled


def _resampled(choices: Choices, start: Array, seed: int, resamples: int) -> Array:
    """Return parameters fitted to resamples of owners, shape (resamples, labelers, 2)."""
    owners, which = np.unique(choices.owner, return_inverse=True)
    if len(owners) < 2 or not len(choices.unit):
        return np.empty((0, len(choices.labelers), 2))
    rng = np.random.default_rng(seed)
    cells, of_entry = _Cells.of(choices), which.astype(np.int32)[choices.unit]
    drawn = []
    for _ in range(resamples):
        times = rng.multinomial(len(owners), np.full(len(owners), 1 / len(owners)))
        repeats = times.astype(np.int32)[of_entry]
        drawn.append(_fit(cells, repeats, start, _WARM_ITERATIONS, _WARM_CLOSE_ENOUGH))
    return np.array(drawn).reshape(resamples, len(choices.labelers), 2)


def _weights(skill: Array, total: Indices, shared: Indices) -> Array:
    """Return weights in proportion to skill; the average choice that can be checked weighs 1."""
    positive = np.where(shared >= FEWEST, np.maximum(skill, 0.0), np.nan)
    checked = ~np.isnan(positive) & (total > 0)
    if not checked.any() or not np.nansum(positive[checked] * total[checked]):
        return np.ones(len(skill))
    mean = np.average(positive[checked], weights=total[checked])
    weights: Array = np.where(np.isnan(positive), 1.0, np.minimum(positive / mean, WEIGHT_MOST))
    return weights


def _measure(value: float, drawn: Array, n: int) -> Measure:
    return Measure(float(value), _interval(drawn), int(n))


def _interval(drawn: Sequence[float] | Array) -> Interval | Undefined:
    if len(drawn) < 2:
        return Undefined("an interval needs at least two comparisons")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _sigmoid(x: Array | float) -> Array:
    return np.exp(_log_sigmoid(x))


def _log_sigmoid(x: Array | float) -> Array:
    logs: Array = -np.logaddexp(0.0, -np.asarray(x, dtype=float))
    return logs
