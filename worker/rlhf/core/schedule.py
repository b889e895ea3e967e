"""Learning rates as a function of the step alone, so that there is nothing to save."""


def linear(step: int, steps_total: int, warmup_steps: int = 0) -> float:
    """Return the share of the full rate at a step counted from 0: up, then down to 0.

    The step after the last would have rate 0.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return max(0.0, (steps_total - step) / max(1, steps_total - warmup_steps))
