"""Strengths of sources from pairwise votes with ties, by maximum likelihood in Davidson's model.

Davidson (1970, Journal of the American Statistical Association 65) extends Bradley and Terry: with
d the difference of two sources' strengths, a win, a tie and a loss have probabilities in proportion
to exp(d / 2), exp(t) and exp(-d / 2). So a tie counts exactly half a win for either side, as it
does everywhere else, and the likelihood is concave. The effect of length, if wanted, is one more
term in d, after Dubois et al. (2024, arXiv 2404.04475): see `length_terms`.

Many weightings of the same votes are fitted at once, such as the resamples of a bootstrap. Where
intervals come from, and what is done if no maximum exists, is left to `strength_draws`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.krippendorff import Array, Indices, Numbers, parts

STEPS_MOST = 40
LENGTH_STEP = 0.1  # length terms are rounded to tenths, so that votes can be counted
FARTHEST = 12.0  # a strength beyond it means that there is no maximum: e^12 is 160,000 to 1
_STRIDE = 2.0  # the longest Newton step of any parameter
_AT_ONCE = 1_500_000  # cells times weightings, which bounds the memory

Counts = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class VoteCells:
    """Kinds of votes: on the same two sources, with the same length term.

    `first` and `second` are numbers of sources from 0, shape (cells,), with first < second; the
    cells are sorted by them. `length` is the length term of the first, shape (cells,).
    """

    first: Indices
    second: Indices
    length: Array
    sources: int

    @property
    def starts(self) -> Indices:
        """Where each pair of sources begins among the cells."""
        key = self.first * self.sources + self.second
        return np.flatnonzero(np.diff(key, prepend=-1)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Fit:
    """Parameters of several weightings, each of shape (b,) or (b, sources).

    `strength` has mean 0; `tie` is t, minus infinity without ties; `length` is the strength that
    one unit of the length term is worth. `information` is the negative Hessian, by parameter in the
    order strengths, tie, length, of shape (b, p, p), penalties included.
    """

    strength: Array
    tie: Array
    length: Array
    information: Array
    is_converged: NDArray[np.bool_]
    has_length: bool = False


@dataclass(frozen=True, slots=True)
class Prior:
    """Normal priors: the penalty of a parameter is weight / 2 times its squared distance."""

    strength: float = 0.0
    others: float = 0.0


def length_terms(difference: Numbers, spread: float) -> Array:
    """Return tanh(difference / spread), rounded to tenths: -1 to 1, and 0 for equal lengths."""
    if spread <= 0:
        return np.zeros(len(difference))
    terms: Array = np.round(np.tanh(difference / spread) / LENGTH_STEP) * LENGTH_STEP
    return terms


def win_share(difference: Array, tie: Array | float) -> Array:
    """Return the expected share of wins, ties counting half, at a difference of strengths."""
    win, lose = np.exp(difference / 2), np.exp(-difference / 2)
    even = np.exp(tie)
    share: Array = (win + even / 2) / (win + even + lose)
    return share


def fit(
    cells: VoteCells,
    votes: Counts,
    *,
    has_ties: bool,
    has_length: bool,
    start: Fit | None = None,
    prior: Prior | None = None,
    tolerance: float = 1e-9,
) -> Fit:
    """Fit the model to weightings of votes by Newton's method.

    Args:
        cells: What the votes are about; all sources must be connected through them.
        votes: Wins of the first, ties and losses, shape (b, cells, 3).
        has_ties: Whether the parameter of ties is fitted; without it, nothing is ever a tie.
        has_length: Whether the effect of length is fitted.
        start: A single fit where the search begins, and around which the prior lies.
        prior: Penalties; none by default.
        tolerance: The largest change of a parameter in the last step.

    Returns:
        The maximum of each weighting; `is_converged` is false where there is none.
    """
    model = _Model(cells, has_ties=has_ties, has_length=has_length)
    center = model.packed(start)
    chunk = max(1, _AT_ONCE // max(len(cells.first), 1))
    parts = [
        model.climb(votes[at : at + chunk], center, prior or Prior(), tolerance)
        for at in range(0, len(votes), chunk)
    ]
    found, information, converged = (np.concatenate(part) for part in zip(*parts, strict=True))
    return model.fit_of(found, information, converged)


def one_step(
    cells: VoteCells,
    cell: Numbers,
    outcome: Numbers,
    weight: Floats,
    group: Numbers,
    times: Array,
    at: Fit,
    prior: Prior,
) -> Fit:
    """Take one Newton step from a fit for weightings of groups of votes.

    It costs the same for any number of votes, and is off the maximum by the square of its
    distance: very little where there are many votes.

    Args:
        cells: What the votes are about.
        cell: The cell of each vote, shape (n,).
        outcome: 0 for a win of the first, 1 for a tie, 2 for a loss, shape (n,).
        weight: How much each vote counts, shape (n,).
        group: The group of each vote, numbered from 0, shape (n,).
        times: How often each group counts, shape (b, groups).
        at: A single fit.
        prior: Penalties of the distance from it.
    """
    has_ties = bool(np.isfinite(at.tie[0]))
    model = _Model(cells, has_ties=has_ties, has_length=at.has_length)
    slopes, curves = model.by_group(cell, outcome, weight, group, at, times.shape[1])
    p = model.size
    curve = (times @ curves.reshape(len(curves), -1)).reshape(-1, p, p)
    curve[:, np.arange(p), np.arange(p)] += model.penalty(prior)
    slope = times @ slopes
    step = np.linalg.solve(model.identified(curve), slope[:, :, None])[:, :, 0]
    longest = np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300)
    found = model.packed(at) + step * np.minimum(1.0, _STRIDE / longest)
    return model.fit_of(found, curve, np.ones(len(found), dtype=bool))


class _Model:
    """The likelihood of parameters: strengths, then the tie and the length parameter if fitted."""

    def __init__(self, cells: VoteCells, *, has_ties: bool, has_length: bool) -> None:
        self.cells = cells
        self.k = cells.sources
        self.tie_at = self.k if has_ties else None
        self.length_at = self.k + has_ties if has_length else None
        self.size = self.k + has_ties + has_length
        self.starts = cells.starts
        self.first, self.second = cells.first[self.starts], cells.second[self.starts]
        pairs = np.arange(len(self.starts))
        self.sides = np.zeros(
            (len(self.starts), self.k)
        )  # 1 for the first source, -1 for the other
        self.sides[pairs, self.first], self.sides[pairs, self.second] = 1.0, -1.0

    def packed(self, start: Fit | None) -> Array:
        """Return the parameters of a single fit as one array, or those to begin with."""
        center = np.zeros(self.size)
        if start is None:
            return center
        center[: self.k] = start.strength[0]
        if self.tie_at is not None:
            center[self.tie_at] = start.tie[0]
        if self.length_at is not None:
            center[self.length_at] = start.length[0]
        return center

    def unpacked(self, found: Array) -> tuple[Array, Array, Array]:
        """Return strengths, ties and lengths of parameters of shape (b, p)."""
        never = np.full(len(found), -np.inf)
        tie = never if self.tie_at is None else found[:, self.tie_at]
        length = np.zeros(len(found)) if self.length_at is None else found[:, self.length_at]
        return found[:, : self.k], tie, length

    def climb(
        self, votes: Counts, center: Array, prior: Prior, tolerance: float
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return the maxima, the information at them, and which have converged."""
        found = np.tile(center, (len(votes), 1))
        information = np.zeros((len(votes), self.size, self.size))
        converged = np.zeros(len(votes), dtype=bool)
        penalty = self.penalty(prior)
        left = np.arange(len(votes))
        for _ in range(STEPS_MOST):
            slope, curve = self._slope_and_curve(votes[left], found[left])
            slope -= penalty * (found[left] - center)
            curve[:, np.arange(self.size), np.arange(self.size)] += penalty
            information[left] = curve
            step = np.linalg.solve(self.identified(curve), slope[:, :, None])[:, :, 0]
            longest = np.abs(step).max(axis=1)
            step *= np.minimum(1.0, _STRIDE / np.maximum(longest, 1e-300))[:, None]
            found[left] += step
            done = longest < tolerance
            converged[left[done]] = True
            left = left[~done]
            if not len(left) or (found[left, : self.k].max(initial=0.0) > 4 * FARTHEST):
                break
        return found, information, converged

    def fit_of(self, found: Array, information: Array, converged: NDArray[np.bool_]) -> Fit:
        """Return parameters of shape (b, p) as fits, with strengths of mean 0."""
        strength, tie, length = self.unpacked(found)
        strength = strength - strength.mean(axis=1, keepdims=True)
        has_length = self.length_at is not None
        return Fit(strength, tie, length, information, converged, has_length)

    def penalty(self, prior: Prior) -> Array:
        """Return the penalty of each parameter."""
        penalty = np.full(self.size, prior.others)
        penalty[: self.k] = prior.strength
        return penalty

    def identified(self, curve: Array) -> Array:
        """Fix the mean of the strengths, on which the likelihood does not depend."""
        fixed = curve.copy()
        size = np.trace(curve[:, : self.k, : self.k], axis1=1, axis2=2) / self.k
        fixed[:, : self.k, : self.k] += np.maximum(size, 1e-9)[:, None, None] / self.k
        spare = np.arange(self.k, self.size)
        fixed[:, spare, spare] += 1e-12
        return fixed

    def _slope_and_curve(self, votes: Counts, found: Array) -> tuple[Array, Array]:
        """Return the gradient, shape (b, p), and the negative Hessian, shape (b, p, p)."""
        strength, tie, length = self.unpacked(found)
        term = self.cells.length
        d = strength[:, self.cells.first] - strength[:, self.cells.second]
        d = d + length[:, None] * term
        win, even = np.exp(d / 2), np.exp(tie)[:, None]
        lose = 1 / win
        whole = win + even + lose
        lead = (win - lose) / whole  # of the chance to win over that to lose
        p_tie = even / whole
        n = votes.sum(axis=2)
        slope_d = (votes[:, :, 0] - votes[:, :, 2] - n * lead) / 2
        curve_d = n * (1 - p_tie - lead * lead) / 4
        slope = np.zeros((len(found), self.size))
        curve = np.zeros((len(found), self.size, self.size))
        slope[:, : self.k] = self._by_pair(slope_d) @ self.sides
        between = self._by_pair(curve_d)
        curve[:, self.first, self.second] = -between
        curve[:, self.second, self.first] = -between
        own = np.arange(self.k)
        curve[:, own, own] = between @ np.abs(self.sides)
        if self.tie_at is not None:
            cross = -n * lead * p_tie / 2
            slope[:, self.tie_at] = (votes[:, :, 1] - n * p_tie).sum(axis=1)
            curve[:, self.tie_at, self.tie_at] = (n * p_tie * (1 - p_tie)).sum(axis=1)
            self._set_cross(curve, self.tie_at, cross)
            if self.length_at is not None:
                curve[:, self.tie_at, self.length_at] = cross @ term
                curve[:, self.length_at, self.tie_at] = cross @ term
        if self.length_at is not None:
            slope[:, self.length_at] = slope_d @ term
            curve[:, self.length_at, self.length_at] = curve_d @ (term * term)
            self._set_cross(curve, self.length_at, curve_d * term)
        return slope, curve

    def by_group(
        self,
        cell: Numbers,
        outcome: Numbers,
        weight: Floats,
        group: Numbers,
        at: Fit,
        groups: int,
    ) -> tuple[Array, Array]:
        """Return the slope (groups, p) and the curve (groups, p, p) of each group of votes."""
        p = self.size
        slope, curve = np.zeros(groups * p), np.zeros(groups * p * p)
        for part in parts(len(cell)):
            wide = group[part].astype(np.int64)
            slopes, curves = self._of_votes(cell[part], outcome[part], weight[part], at)
            for row, values in slopes:
                slope += np.bincount(wide * p + row, values, groups * p)
            for row, column, values in curves:
                curve += np.bincount((wide * p + row) * p + column, values, groups * p * p)
        upper = curve.reshape(groups, p, p)  # sources come before ties, and those before length
        return slope.reshape(groups, p), upper + np.triu(upper, 1).swapaxes(1, 2)

    def _of_votes(
        self, cell: Numbers, outcome: Numbers, weight: Floats, at: Fit
    ) -> tuple[list[tuple[Indices, Array]], list[tuple[Indices, Indices, Array]]]:
        """Return what votes add to the slope by row, and to the curve by row and column."""
        first, second = self.cells.first[cell], self.cells.second[cell]
        term = self.cells.length[cell]
        d = at.strength[0, first] - at.strength[0, second] + at.length[0] * term
        win, even = np.exp(d / 2), np.exp(at.tie[0])
        whole = win + even + 1 / win
        lead, p_tie = (win - 1 / win) / whole, even / whole
        slope_d = weight * ((1 - outcome) - lead) / 2
        curve_d = weight * (1 - p_tie - lead * lead) / 4
        slopes = [(first, slope_d), (second, -slope_d)]
        curves = [(first, first, curve_d), (second, second, curve_d), (first, second, -curve_d)]
        if self.tie_at is not None:
            own = np.full(len(cell), self.tie_at)
            cross = -weight * lead * p_tie / 2
            slopes.append((own, weight * ((outcome == 1) - p_tie)))
            curves += [(own, own, weight * p_tie * (1 - p_tie))]
            curves += [(first, own, cross), (second, own, -cross)]
        if self.length_at is not None:
            far = np.full(len(cell), self.length_at)
            slopes.append((far, slope_d * term))
            curves += [(far, far, curve_d * term * term)]
            curves += [(first, far, curve_d * term), (second, far, -curve_d * term)]
            if self.tie_at is not None:
                curves.append((own, far, cross * term))
        return slopes, curves

    def _set_cross(self, curve: Array, at: int, values: Array) -> None:
        """Set the entries of a further parameter with the strengths."""
        cross = self._by_pair(values) @ self.sides
        curve[:, : self.k, at] = cross
        curve[:, at, : self.k] = cross

    def _by_pair(self, values: Array) -> Array:
        """Sum the values of cells, shape (b, cells), by pair of sources."""
        if len(self.starts) == values.shape[1]:
            return values
        summed: Array = np.add.reduceat(values, self.starts, axis=1)
        return summed
