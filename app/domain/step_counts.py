"""The number of optimizer steps in a number of epochs; the steps are up to the learning core."""

from dataclasses import dataclass

from app.errors import Invalid


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
