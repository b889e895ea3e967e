"""How often a policy is evaluated on held-out prompts during its training, and on how many.

An evaluation samples responses and scores them, which may take longer than a step of training.
All evaluations together, the first and the last included, take at most `LOOKS_SHARE` of the
training time. It is counted in responses, so that it does not depend on the machine: one that is
trained on counts 1, one that is only scored a third, and one that is sampled 1, because tokens
come one after the other.
"""

from dataclasses import dataclass

from app.domain.plan import Algorithm, PolicyPlan
from app.domain.step_counts import LOOKS_SHARE, SCORING_COST, look_interval

SAMPLING_COST = 1.0
LOOK_COST = SAMPLING_COST + 3 * SCORING_COST  # policy, reference and reward
LOOKS_LEAST, PROMPTS_LEAST = 4, 16
"""Looks below which prompts are spared instead, and prompts below which looks are."""


@dataclass(frozen=True, slots=True)
class Looks:
    """Steps between the evaluations, held-out prompts of each, and the share of training time."""

    every: int
    prompts: int
    share: float


def plan(policy: PolicyPlan, steps: int, heldout: int) -> Looks:
    """Return the evaluations of a run; an interval that the plan sets is kept.

    Short runs are evaluated at the start and at the end on a few prompts whatever it takes.

    Args:
        policy: the settings.
        steps: of the run.
        heldout: prompts there are.
    """
    prompts, every = min(policy.heldout_prompts, heldout), policy.evaluation_interval(steps)
    if not prompts:
        return Looks(every, 0, 0.0)
    trained = steps * policy.batch_size * row_cost(policy)
    within = LOOKS_SHARE * trained / LOOK_COST  # responses
    if policy.evaluate_every is None:
        looks = min(_count(steps, every), LOOKS_LEAST)
        prompts = min(prompts, max(int(within / looks), PROMPTS_LEAST))
        # The one at the start comes in addition to those at intervals.
        every = look_interval(steps, every, max(1, int(within / prompts) - 1))
    return Looks(every, prompts, _count(steps, every) * prompts * LOOK_COST / trained)


def _count(steps: int, every: int) -> int:
    return 1 + -(-steps // every)


def row_cost(policy: PolicyPlan) -> float:
    """Return what a response (with DPO a comparison) of a batch costs to train on."""
    match policy.algorithm:
        case Algorithm.PPO:
            roles = 1 if policy.shares_trunk else 2  # policy, value
            scored = (2 + roles) * SCORING_COST  # reference and reward too
            return SAMPLING_COST + scored + policy.passes * roles
        case Algorithm.RLOO:
            return SAMPLING_COST + 3 * SCORING_COST + policy.passes
        case Algorithm.DPO:
            return 2 * (1 + SCORING_COST)  # both responses, also by the reference
        case Algorithm.BEST_OF_N:
            candidates = policy.samples * (SAMPLING_COST + SCORING_COST)
            return 1 + candidates / (policy.epochs or 1)
