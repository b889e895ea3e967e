"""A policy's held-out metrics are of the weights it keeps, not of the last ones."""

import pytest

from app.domain import climb
from worker.rlhf.core.training_state import Best, TrainingState
from worker.training import policy
from worker.training.training_loop import LoopEnd

LAST = {"kl/k1": 2.4, "heldout/kl": 2.4, "heldout/reward": 1.5, "heldout/length": 40.0}


def _state(best_step: int) -> TrainingState:
    """Return the state of a run that was evaluated at steps 0, 30 and 40."""
    state = TrainingState()
    seen = ((0, 0.0, 0.0), (30, 1.29, 2.03), (35, None, 2.2), (40, 1.5, 2.4))
    state.values["history"] = [
        {
            "step": step,
            "reward": 0.0,
            "kl_nats": kl,
            "heldout_reward": reward,
            "heldout_kl_nats": kl,
        }
        for step, reward, kl in seen
    ]
    state.best = Best(1.1, best_step, {})
    return state


@pytest.mark.parametrize(
    ("best_step", "kl", "reward", "length"),
    [(30, 2.03, 1.29, None), (0, 0.0, 0.0, None), (40, 2.4, 1.5, 40.0)],
)
def test_held_out_metrics_are_of_the_kept_step(
    best_step: int, kl: float, reward: float, length: float | None
) -> None:
    end, state = LoopEnd(40, 40, "steps", LAST), _state(best_step)
    metrics = policy.of_kept_weights(end, state, best_step)
    assert (metrics["heldout/kl"], metrics["heldout/reward"]) == (kl, reward)
    assert metrics.get("heldout/length") == length
    assert metrics["heldout_step"] == best_step
    assert metrics["kl/k1"] == LAST["kl/k1"]  # of the training batch of the last step
    assert climb.kl_nats(metrics) == kl
    moved = policy.movement_of(state, best_step, 1)
    assert moved is not None
    assert (moved.kl_nats, moved.reward_after) == (kl, reward)  # what the check of the round says


def test_without_held_out_prompts_the_last_metrics_stay() -> None:
    state = TrainingState()
    assert policy.of_kept_weights(LoopEnd(9, 9, "", {"kl/k1": 1.0}), state, 9) == {"kl/k1": 1.0}
