"""Learning-rate schedules as functions of the step alone, so there is no state to save."""


def linear(step: int, steps_total: int, warmup_steps: int = 0) -> float:
    """Return the fraction of the full learning rate at a step counted from 0.

    It rises linearly over the warm-up, then falls linearly and would reach 0 one step after the
    last.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return max(0.0, (steps_total - step) / max(1, steps_total - warmup_steps))
