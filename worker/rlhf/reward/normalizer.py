"""Normalization of scores to mean 0 and standard deviation 1 on the SFT policy's completions.

It gives the KL coefficient the same meaning in every round. Scales are stored with the checkpoint;
the heads themselves stay unnormalized.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

MIN_STD = 1e-6


@dataclass(frozen=True, slots=True)
class Scale:
    """A mean and a standard deviation with which to standardize."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a standard deviation of 0.

        Raises:
            ValueError: if it is not above 0.
        """
        if not self.std > 0.0:
            raise ValueError(f"the standard deviation of a scale must be above 0, got {self.std}")

    @classmethod
    def fit(cls, values: Tensor) -> Self:
        """Return the scale of a sample; if all values are equal, its std is 1."""
        std = float(values.double().std(correction=0))
        return cls(float(values.double().mean()), std if std > MIN_STD else 1.0)

    def __call__(self, values: Tensor) -> Tensor:
        """Return the standardized values."""
        return (values - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments, over a sample, of the ensemble's mean score and of its spread."""

    mean: float
    mean_spread: float
    variance: float
    variance_spread: float
    covariance: float

    @classmethod
    def of(cls, mean: Tensor, spread: Tensor) -> Self:
        """Return the moments of a sample, [N] each."""
        mean, spread = mean.double(), spread.double()
        stacked = torch.stack([mean, spread])
        ((variance, covariance), (_, variance_spread)) = torch.cov(stacked, correction=0).tolist()
        return cls(float(mean.mean()), float(spread.mean()), variance, variance_spread, covariance)

    def scale(self, penalty: float) -> Scale:
        """Return the scale of mean - penalty · spread on the sample."""
        variance = (
            self.variance - 2.0 * penalty * self.covariance + penalty**2 * self.variance_spread
        )
        std = max(variance, 0.0) ** 0.5
        return Scale(self.mean - penalty * self.mean_spread, std if std > MIN_STD else 1.0)


@dataclass(frozen=True, slots=True)
class Normalizer:
    """A scale per reward model, and one for the ensemble's lower bound at a given penalty.

    The combined scale gives the lower bound mean 0 and std 1 as well. `moments` of the fitting
    sample provide it at other penalties; without them only `penalty` is available.
    """

    members: tuple[Scale, ...] = (Scale(),)
    combined: Scale = Scale()
    penalty: float = 0.0
    moments: Moments | None = None

    @classmethod
    def fit(cls, raw: Tensor, *, penalty: float) -> Self:
        """Return the scales of raw scores [M, N] of M models on N completions."""
        members = tuple(Scale.fit(row) for row in raw)
        moments = Moments.of(*_mean_and_spread(members, raw))
        return cls(members, moments.scale(penalty), penalty, moments)

    def at(self, penalty: float) -> Self:
        """Return the normalizer for the same sample at another penalty.

        Raises:
            ValueError: if it was fitted at one penalty, without the moments for others.
        """
        if penalty == self.penalty:
            return self
        if len(self.members) == 1:  # a single model has no spread
            return replace(self, penalty=penalty)
        if self.moments is None:
            raise ValueError(
                f"the reward model was normalized for an uncertainty penalty of {self.penalty:g}, "
                f"without the moments needed for one of {penalty:g}; train it again"
            )
        return replace(self, penalty=penalty, combined=self.moments.scale(penalty))

    def lower_bound(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalized mean - penalty · std over the models, and that std, [N] each.

        Coste et al. 2023 (arXiv 2310.02743), section 3, with the standard deviation, which has the
        unit of the reward, in place of the variance.

        Args:
            raw: Raw scores, [M, N].
        """
        mean, spread = _mean_and_spread(self.members, raw)
        return self.combined(mean - self.penalty * spread), spread

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads."""
        return {
            "members": [[scale.mean, scale.std] for scale in self.members],
            "combined": [[self.combined.mean, self.combined.std]],
            "penalty": self.penalty,
            "moments": None if self.moments is None else asdict(self.moments),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the normalizer in a manifest; a missing penalty is 0."""
        (combined,) = value["combined"]
        moments = value.get("moments")
        return cls(
            tuple(Scale(*member) for member in value["members"]),
            Scale(*combined),
            float(value.get("penalty", 0.0)),
            None if moments is None else Moments(**moments),
        )


def _mean_and_spread(members: Sequence[Scale], raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and std over the models, each on its own scale, [M, N] -> [N] and [N]."""
    scaled = torch.stack([scale(row) for scale, row in zip(members, raw, strict=True)])
    return scaled.mean(0), scaled.std(0, correction=0)
