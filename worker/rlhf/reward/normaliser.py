"""Scales that make scores mean 0 and standard deviation 1 on the SFT policy's own answers.

With them the KL coefficient means the same in every round. They are stored with the checkpoint; the
heads stay raw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

MIN_STD = 1e-6


@dataclass(frozen=True, slots=True)
class Scale:
    """A mean and a standard deviation to divide by."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse to divide by nothing."""
        if not self.std > 0.0:
            raise ValueError(f"a scale's standard deviation must be above 0, it is {self.std}")

    @classmethod
    def fit(cls, values: Tensor) -> Self:
        """Return the scale of a sample; equal values are only shifted."""
        std = float(values.double().std(correction=0))
        return cls(float(values.double().mean()), std if std > MIN_STD else 1.0)

    def __call__(self, values: Tensor) -> Tensor:
        """Return the values on this scale."""
        return (values - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of the models' mean and of their spread over a sample, and how they go."""

    mean: float
    mean_spread: float
    variance: float
    variance_spread: float
    covariance: float

    @classmethod
    def of(cls, mean: Tensor, spread: Tensor) -> Self:
        """Return those of a sample, [N] each."""
        a, b = mean.double(), spread.double()
        both = torch.stack([a, b])
        ((variance, covariance), (_, variance_spread)) = torch.cov(both, correction=0).tolist()
        return cls(float(a.mean()), float(b.mean()), variance, variance_spread, covariance)

    def scale(self, penalty: float) -> Scale:
        """Return the scale of mean - penalty · spread on that sample."""
        variance = (
            self.variance - 2.0 * penalty * self.covariance + penalty**2 * self.variance_spread
        )
        std = max(variance, 0.0) ** 0.5
        return Scale(self.mean - penalty * self.mean_spread, std if std > MIN_STD else 1.0)


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A scale per reward model, and one for what they say together at the penalty of their spread.

    The latter sees to it that the ensemble's lower bound too is mean 0, std 1. `moments` of the
    sample it was fitted to give it at another penalty; without them there is only the one.
    """

    members: tuple[Scale, ...] = (Scale(),)
    combined: Scale = Scale()
    penalty: float = 0.0
    moments: Moments | None = None

    @classmethod
    def fit(cls, raw: Tensor, *, penalty: float) -> Self:
        """Return the scales of raw scores [M, N] of M models on N answers."""
        members = tuple(Scale.fit(row) for row in raw)
        moments = Moments.of(*_mean_and_spread(members, raw))
        return cls(members, moments.scale(penalty), penalty, moments)

    def at(self, penalty: float) -> Self:
        """Return the normaliser of the same sample at another penalty.

        Raises:
            ValueError: if it was fitted at one penalty without the figures for any other.
        """
        if penalty == self.penalty:
            return self
        if len(self.members) == 1:  # which never disagrees with itself
            return replace(self, penalty=penalty)
        if self.moments is None:
            raise ValueError(
                f"an uncertainty penalty of {penalty:g} is wanted, and the reward model was "
                f"brought to scale at {self.penalty:g}, without what another one takes; "
                "train it again"
            )
        return replace(self, penalty=penalty, combined=self.moments.scale(penalty))

    def lower_bound(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean - penalty · std over the models, and that std, both [N].

        Coste et al. 2023 (arXiv 2310.02743), section 3; there the variance, here its root, which
        has the reward's unit.

        Args:
            raw: [M, N].

        """
        mean, spread = _mean_and_spread(self.members, raw)
        return self.combined(mean - self.penalty * spread), spread

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "members": [[scale.mean, scale.std] for scale in self.members],
            "combined": [[self.combined.mean, self.combined.std]],
            "penalty": self.penalty,
            "moments": None if self.moments is None else asdict(self.moments),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the normaliser of a manifest; one that names no penalty has none."""
        (combined,) = value["combined"]
        moments = value.get("moments")
        return cls(
            tuple(Scale(*each) for each in value["members"]),
            Scale(*combined),
            float(value.get("penalty", 0.0)),
            None if moments is None else Moments(**moments),
        )


def _mean_and_spread(members: Sequence[Scale], raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and std over the models, each on its own scale, [M, N] -> [N] and [N]."""
    each = torch.stack([scale(row) for scale, row in zip(members, raw, strict=True)])
    return each.mean(0), each.std(0, correction=0)
