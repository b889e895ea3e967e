"""What a training loop says after each optimiser step; who listens is not its business."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion shown to people who watch the run."""

    prompt: str
    completion: str
    score: float | None


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step; for PPO one batch of episodes is one step.

    `step` counts from 1. `metrics` holds plain floats under the names of the glossary: "loss",
    "reward/score", "kl/k1", "time/generate_s". `stop_reason` is set on the last report of a run
    only.
    """

    step: int
    steps_total: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    stop_reason: str | None = None
