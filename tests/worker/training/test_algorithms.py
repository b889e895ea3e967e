"""What an algorithm is given of a plan's settings."""

import pytest

from app.domain.plan import RoundPlan
from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import LoraSettings
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.reward.normalizer import Scale
from worker.training import algorithms
from worker.training.algorithms import PolicyInputs


@pytest.mark.parametrize(
    ("lora", "scale"),
    [(tiny.LORA, {"mean": 3.0, "std": 2.0}), (LoraSettings(3, 5), {"mean": 0.0, "std": 1.0})],
)
def test_only_a_head_taken_from_the_reward_model_is_read_on_its_scale(
    lora: LoraSettings, scale: dict[str, float]
) -> None:
    roles = tiny.roles("reward", heads=("reward",))
    own = PpoConfig(lora=lora, value_scale=Scale(3.0, 2.0))
    given = PolicyInputs(roles, prompts(2), [], LikesOneSide(), [], TrainingState())
    assert algorithms.prepare(RoundPlan(), given, own).settings["value_scale"] == scale
