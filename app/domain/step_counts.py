"""The number of optimizer steps in a number of epochs; the steps are up to the learning core."""

from dataclasses import dataclass

from app.errors import Invalid

SCORING_COST = 1 / 3
"""Time to score something, as a share of that to train on it: there is no backward pass."""

LOOKS_SHARE = 0.15
"""Share of the training time that evaluations on held-out data may take."""


@dataclass(frozen=True, slots=True)
class StepCount:
    """Optimizer steps per epoch, and in total."""

    per_epoch: int
    total: int

    def capped(self, most: int | None) -> "StepCount":
        """Return the count of a run that ends after at most that many steps; None: no limit."""
        return self if most is None or self.total <= most else StepCount(self.per_epoch, most)


def count_steps(dataset: int, batch: int, epochs: int) -> StepCount:
    """Count the steps of ``epochs`` passes over ``dataset`` rows; the last batch may be smaller.

    Raises Invalid if any of the three numbers is below 1.
    """
    for name, value in (("dataset", dataset), ("batch", batch), ("epochs", epochs)):
        if value < 1:
            raise Invalid(f"{name} must be at least 1, not {value}")
    per_epoch = -(-dataset // batch)
    return StepCount(per_epoch, per_epoch * epochs)


def looks_within(seen: float, heldout: float) -> int | None:
    """Return how often held-out data can be evaluated within `LOOKS_SHARE` of the training time.

    At least 1 is returned, since the last evaluation measures the model; None is no limit.

    Args:
        seen: rows that the training sees, an epoch counting all.
        heldout: rows of an evaluation.
    """
    return max(1, int(LOOKS_SHARE * seen / (SCORING_COST * heldout))) if heldout else None


def look_interval(steps: int, wanted: int, most: int | None) -> int:
    """Return the steps between evaluations: as wanted, or more if that gave more than `most`.

    The last step is evaluated as well.
    """
    return max(1, wanted, 0 if most is None else -(-steps // most))
