"""How sure strengths are: a bootstrap over prompts, and what takes its place without a maximum.

Prompts are drawn with replacement, because votes on one prompt depend on each other, and the model
of `source_strengths` is fitted to each resample. In a small project every resample is fitted to the
end; in a large one, where a resample is close to the whole, one Newton step from the whole takes
its place and costs the same for any number of votes.

The likelihood has a maximum only if no part of the sources won every vote against the rest (Ford
1957, American Mathematical Monthly 64). Where one did, its strength has no upper limit, and every
resample says the same. Then a weak prior keeps strengths finite, and draws are from the posterior
with prompts, not votes, as trials: its normal approximation, except for the lead of the part that
always won, which is far from normal and drawn from its own one-dimensional posterior.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from app.domain import jackknife, source_strengths
from app.domain.krippendorff import Array, Indices, Numbers, narrowed
from app.domain.source_strengths import FARTHEST, Fit, Floats, Prior, VoteCells

RESAMPLES = 500
SEED = 20_240_607
PRIOR_SPREAD = 2.5  # of strengths, where there is no maximum
_LOOSE = Prior(0.01, 0.01)  # around the fit of all votes: keeps a resample's strengths finite
_DENSE = 1_500_000  # numbers in a table of groups, beyond which it is made smaller
_REFIT = 600_000  # cells times resamples, up to which every resample is fitted to the end
_TOLERANCE = 1e-4
_IDENTIFIED = 1e-6
_LEADS = np.linspace(-12.0, 24.0, 1441)  # added to the lead of a part that always won


@dataclass(frozen=True, slots=True)
class SourceVotes:
    """Votes between two sources, as parallel arrays of shape (n,), of types just wide enough.

    `first` and `second` are numbers of sources from 0. `outcome` is 0 if the first won, 1 for a
    tie, 2 if it lost. `weight` is how much the vote counts. `first_length` and `second_length` are
    those of the two responses, in characters. `prompt` numbers the prompts from 0.
    """

    first: Numbers
    second: Numbers
    outcome: Numbers
    weight: Floats
    first_length: Numbers
    second_length: Numbers
    prompt: Numbers

    def __len__(self) -> int:
        return len(self.first)

    def where(self, mask: NDArray[np.bool_]) -> "SourceVotes":
        """Return the votes of a mask; all of them are returned as they are."""
        if mask.all():
            return self
        return SourceVotes(*(getattr(self, field.name)[mask] for field in fields(self)))

    @property
    def prompts(self) -> int:
        """The number of prompts with a vote."""
        return int((np.bincount(self.prompt) > 0).sum())

    @property
    def length(self) -> Numbers:
        """How much longer the response of the first is."""
        return self.first_length.astype(np.int64) - self.second_length

    def in_order(self) -> "SourceVotes":
        """Return the votes with the source of the lower number first."""
        turn = self.first > self.second
        return SourceVotes(
            np.minimum(self.first, self.second),
            np.maximum(self.first, self.second),
            np.where(turn, 2 - self.outcome, self.outcome),
            self.weight,
            np.where(turn, self.second_length, self.first_length),
            np.where(turn, self.first_length, self.second_length),
            self.prompt,
        )


@dataclass(frozen=True, slots=True)
class StrengthDraws:
    """The fit of all votes, and draws of its parameters that show how uncertain it is.

    `strength` has shape (b, sources), `tie` and `length` shape (b,). `is_limited` says that the
    likelihood has a maximum, so that no prior was needed.
    """

    fit: Fit
    strength: Array
    tie: Array
    length: Array
    is_limited: bool


def connected(votes: SourceVotes, sources: int) -> list[Indices]:
    """Return the groups of sources that votes connect, the largest first; alone ones are groups."""
    reach = np.eye(sources, dtype=bool)
    reach[votes.first, votes.second] = reach[votes.second, votes.first] = True
    reach = _closed(reach)
    groups = [np.flatnonzero(row).astype(np.int64) for row in np.unique(reach, axis=0)]
    weight = np.bincount(votes.first, minlength=sources) + np.bincount(
        votes.second, minlength=sources
    )
    return sorted(groups, key=lambda group: (-len(group), -int(weight[group].sum()), int(group[0])))


def unbeaten(votes: SourceVotes, sources: int) -> tuple[list[Indices], list[Indices]]:
    """Return the parts of connected sources that won, and that lost, every vote with the rest.

    Both are empty if the likelihood has a maximum.
    """
    reach = np.eye(sources, dtype=bool)
    held = votes.outcome <= 1
    reach[votes.first[held], votes.second[held]] = True
    held = votes.outcome >= 1
    reach[votes.second[held], votes.first[held]] = True
    reach = _closed(reach)
    both = reach & reach.T
    if both.all():
        return [], []
    parts = [np.flatnonzero(row).astype(np.int64) for row in np.unique(both, axis=0)]
    winners = [part for part in parts if reach[:, part[0]].sum() == len(part)]
    losers = [part for part in parts if reach[part[0]].sum() == len(part)]
    return winners, losers


def cells_of(votes: SourceVotes, sources: int, term: Floats) -> tuple[VoteCells, Numbers]:
    """Return the cells of votes in order with their length terms, and the cell of each vote."""
    step = np.round(term / source_strengths.LENGTH_STEP).astype(np.int64)
    width = 2 * round(1 / source_strengths.LENGTH_STEP) + 1
    pair = votes.first.astype(np.int64) * sources + votes.second
    names, cell = np.unique(pair * width + step + width // 2, return_inverse=True)
    pair, level = names // width, names % width - width // 2
    length = level * source_strengths.LENGTH_STEP
    return VoteCells(pair // sources, pair % sources, length, sources), narrowed(cell)


def tells_length_apart(cells: VoteCells, n: Array) -> bool:
    """Whether the effect of length can be told from the sources' strengths.

    It cannot if lengths never differ, or only as the sources do: `n` is the weight of each cell.
    """
    sides = np.zeros((len(cells.first), cells.sources))
    at = np.arange(len(cells.first))
    sides[at, cells.first], sides[at, cells.second] = 1.0, -1.0
    root = np.sqrt(n)
    wanted = root * cells.length
    curve = sides.T @ (n[:, None] * sides) + np.ones((cells.sources, cells.sources))
    fitted = sides @ np.linalg.solve(curve, sides.T @ (n * cells.length))
    rest = wanted - root * fitted
    return bool(rest @ rest > _IDENTIFIED * (wanted @ wanted))


def draw(votes: SourceVotes, sources: int, term: Floats, *, has_length: bool) -> StrengthDraws:
    """Fit the strengths of connected sources, and draw them again from resampled prompts.

    Args:
        votes: Votes in order, at least one of them not a tie.
        sources: The number of sources, all of which votes connect.
        term: The length term of each vote, shape (n,); zeros without an effect of length.
        has_length: Whether the effect of length is fitted.
    """
    cells, cell = cells_of(votes, sources, term)
    has_ties = bool((votes.outcome == 1).any())
    size = 3 * len(cells.first)
    counts = _sums(_rows(cell, 3, votes.outcome), votes.weight, size).reshape(1, -1, 3)
    if not unbeaten(votes, sources)[0]:
        fit = source_strengths.fit(cells, counts, has_ties=has_ties, has_length=has_length)
        if fit.is_converged[0] and np.abs(fit.strength).max() < FARTHEST:
            return _resampled(votes, cells, cell, fit)
    prior = Prior(1 / PRIOR_SPREAD**2, 1 / PRIOR_SPREAD**2 if has_length else 1e-6)
    fit = source_strengths.fit(cells, counts, has_ties=has_ties, has_length=has_length, prior=prior)
    draws = _normal(votes, fit, prior)
    winners, losers = unbeaten(votes, sources)
    parts = [(part, 1) for part in winners] + [(part, -1) for part in losers]
    if len(winners) == len(losers) == 1 and len(winners[0]) + len(losers[0]) == sources:
        parts = parts[:1]  # the same votes
    random = np.random.default_rng(SEED + 1)
    strength = draws.strength
    for part, sign in parts:
        leads = _lead_draws(votes, term, fit, part, sign, random)
        strength = _with_leads(strength, fit.strength[0], part, leads)
    return replace(draws, strength=strength)


def _resampled(votes: SourceVotes, cells: VoteCells, cell: Numbers, fit: Fit) -> StrengthDraws:
    present = np.bincount(votes.prompt) > 0
    number = narrowed(np.cumsum(present) - 1)[votes.prompt]
    width = min(3 * len(cells.first), fit.information.shape[1] ** 2)
    most = min(jackknife.MOST_CLUSTERS, 1 << max(_DENSE // width, 64).bit_length() - 1)
    group, groups = jackknife.merged(number, most)
    random = np.random.default_rng(SEED)
    times = np.empty((RESAMPLES, groups))
    for row in times:
        row[:] = np.bincount(random.integers(0, groups, groups), minlength=groups)
    if RESAMPLES * len(cells.first) > _REFIT:
        found = source_strengths.one_step(
            cells, cell, votes.outcome, votes.weight, group, times, fit, _LOOSE
        )
    else:
        each = 3 * len(cells.first)
        place = _rows(group, each, _rows(cell, 3, votes.outcome))
        table = _sums(place, votes.weight, groups * each)
        found = source_strengths.fit(
            cells,
            (times @ table.reshape(groups, each)).reshape(RESAMPLES, -1, 3),
            has_ties=bool(np.isfinite(fit.tie[0])),
            has_length=fit.has_length,
            start=fit,
            prior=_LOOSE,
            tolerance=_TOLERANCE,
        )
    return StrengthDraws(fit, found.strength, found.tie, found.length, True)


def _normal(votes: SourceVotes, fit: Fit, prior: Prior) -> StrengthDraws:
    """Draw from the normal approximation of a penalized likelihood, with prompts as trials."""
    sources = fit.strength.shape[1]
    size = fit.information.shape[1]
    penalty = np.full(size, prior.others)
    penalty[:sources] = prior.strength
    share = _trials_share(votes)
    curve = share * (fit.information[0] - np.diag(penalty)) + np.diag(penalty)
    values, directions = np.linalg.eigh(curve)
    spread = directions / np.sqrt(np.maximum(values, 1e-9))
    moves = np.random.default_rng(SEED).normal(size=(RESAMPLES, size)) @ spread.T
    strength = fit.strength + moves[:, :sources]
    strength = strength - strength.mean(axis=1, keepdims=True)
    at = sources
    tie = np.full(RESAMPLES, fit.tie[0])
    if np.isfinite(fit.tie[0]):
        tie, at = tie + moves[:, at], at + 1
    length = fit.length[0] + moves[:, at] if fit.has_length else np.zeros(RESAMPLES)
    return StrengthDraws(fit, strength, tie, length, False)


def _lead_draws(
    votes: SourceVotes,
    term: Floats,
    fit: Fit,
    part: Indices,
    sign: int,
    random: np.random.Generator,
) -> Array:
    """Draw how much further a part is ahead (or behind: `sign` -1) than the fit has it."""
    strength = fit.strength[0]
    inside = np.isin(votes.first, part)
    across = inside != np.isin(votes.second, part)
    d = strength[votes.first] - strength[votes.second] + fit.length[0] * term
    ahead = np.where(inside, d, -d)[across] * sign
    share = _trials_share(votes)
    values, times = np.unique(ahead, return_counts=True)
    weight = votes.weight[across].mean() * times * share
    further = values[:, None] + _LEADS
    even = np.exp(fit.tie[0])
    win = -np.log1p(np.exp(np.clip(-further, -500, 500)) + even * np.exp(-further / 2))
    size, rest = len(part), len(strength) - len(part)
    moved = np.tile(strength[:, None], len(_LEADS))
    step = sign * _LEADS / len(strength)
    moved -= size * step
    moved[part] += (size + rest) * step
    posterior = weight @ win - (moved**2).sum(axis=0) / (2 * PRIOR_SPREAD**2)
    chance = np.cumsum(np.exp(posterior - posterior.max()))
    found: Array = np.interp(random.random(RESAMPLES), chance / chance[-1], _LEADS)
    return sign * found


def _with_leads(drawn: Array, strength: Array, part: Indices, leads: Array) -> Array:
    """Return draws in which a part is ahead of the rest by other leads than its own."""
    k = drawn.shape[1]
    is_part = np.zeros(k, dtype=bool)
    is_part[part] = True
    moves = drawn - strength
    own = moves[:, is_part].mean(axis=1) - moves[:, ~is_part].mean(axis=1)
    shift = np.where(is_part, 1.0, 0.0) - len(part) / k
    moved: Array = drawn + (leads - own)[:, None] * shift
    return moved


def _trials_share(votes: SourceVotes) -> float:
    """Return how much a vote counts where prompts, not votes, are trials."""
    return min(1.0, votes.prompts / max(float(votes.weight.sum()), 1e-9))


def _rows(outer: Numbers, width: int, inner: Numbers) -> Indices:
    """Return the number of each entry in a table of rows of this width."""
    return outer.astype(np.int64) * width + inner


def _sums(row: Indices, weight: Floats, rows: int) -> Array:
    """Return the sum of the weights of each row."""
    return np.bincount(row, weight, rows).astype(float)


def _closed(reach: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what is reached in any number of steps."""
    while True:
        further = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
        if (further == reach).all():
            return reach
        reach = further
