"""What a training loop yields after each optimizer step; consumers are not its concern."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


class Diverged(ValueError):
    """A loss or gradient norm is not finite: the weights are lost."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion shown to people who follow the run; `parts` are those of a combined reward."""

    prompt: str
    completion: str
    score: float | None
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step; for PPO, one batch of episodes is one step.

    `step` counts from 1. `metrics` holds plain floats under the names in the glossary: "loss",
    "reward/score", "kl/k1", "time/generate_s". `stop_reason` is set on the last report of a run
    only. `start_samples` are the initial policy's, on the first report of a run only.
    """

    step: int
    steps_total: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    stop_reason: str | None = None
    start_samples: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        """Refuse to continue with weights that are lost.

        Raises:
            Diverged: naming the step, the metric and its value.
        """
        for name, value in self.metrics.items():
            if name.startswith(("loss", "grad_norm")) and not math.isfinite(value):
                raise Diverged(
                    f"training diverged at step {self.step}: {name} is {value}; "
                    "a lower learning rate may help"
                )
