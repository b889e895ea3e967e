"""How many optimiser steps some epochs come to. What a step does is left to the learning core."""

from dataclasses import dataclass

from app.errors import Invalid


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps per pass over the data, and in all."""

    per_epoch: int
    total: int


def steps(dataset: int, batch: int, epochs: int) -> Steps:
    """Count the steps of ``epochs`` passes over ``dataset`` rows; the last batch may be short.

    Raises Invalid for an empty data set, batch or number of epochs.
    """
    for name, value in (("dataset", dataset), ("batch", batch), ("epochs", epochs)):
        if value < 1:
            raise Invalid(f"{name} must be at least 1, not {value}")
    per_epoch = -(-dataset // batch)
    return Steps(per_epoch, per_epoch * epochs)
