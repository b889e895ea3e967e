"""Scales that make scores mean 0 and standard deviation 1 on the SFT policy's own answers.

With them the KL coefficient means the same in every round. They are stored with the checkpoint; the
heads stay raw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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
class Normaliser:
    """A scale per reward model, and one for what they say together.

    The latter sees to it that the ensemble's lower bound too is mean 0, std 1.
    """

    members: tuple[Scale, ...] = (Scale(),)
    combined: Scale = Scale()

    @classmethod
    def fit(cls, raw: Tensor, *, penalty: float) -> Self:
        """Return the scales of raw scores [M, N] of M models on N answers."""
        members = tuple(Scale.fit(row) for row in raw)
        bound, _ = cls(members).lower_bound(raw, penalty)
        return cls(members, Scale.fit(bound))

    def lower_bound(self, raw: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
        """Return mean - penalty · std over the models, and that std, both [N].

        Coste et al. 2023 (arXiv 2310.02743), section 3; there the variance, here its root, which
        has the reward's unit.

        Args:
            raw: [M, N].
            penalty: How many standard deviations the reward is pulled down.

        """
        each = torch.stack([scale(row) for scale, row in zip(self.members, raw, strict=True)])
        spread = each.std(0, correction=0)
        return self.combined(each.mean(0) - penalty * spread), spread

    def to_json(self) -> dict[str, list[list[float]]]:
        """Return what `from_json` reads."""
        return {
            "members": [[scale.mean, scale.std] for scale in self.members],
            "combined": [[self.combined.mean, self.combined.std]],
        }

    @classmethod
    def from_json(cls, value: dict[str, Sequence[Sequence[float]]]) -> Self:
        """Return the normaliser of a manifest."""
        (combined,) = value["combined"]
        return cls(tuple(Scale(*each) for each in value["members"]), Scale(*combined))
