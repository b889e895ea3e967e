"""A small run of every algorithm, begun afresh or from a restored state, for `kill_proof`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from tests.worker.rlhf.reward.test_criterion_heads import CRITERIA, rated
from tests.worker.rlhf.reward.test_reward_model import rankings
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import SFT, Roles
from worker.rlhf.policy import best_of_n, dpo, ppo, rloo
from worker.rlhf.policy.best_of_n import BestOfNConfig
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.policy_watch import PolicyWatch, WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.policy.rollout import Forward
from worker.rlhf.reward import criterion_heads, reward_model
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

STEPS = 40
WATCH = WatchConfig(every=5, prompts=4, samples=1, rules=())
SAMPLING = SamplingConfig(n=4, max_new_tokens=6)
PPO = PpoConfig(
    steps=STEPS,
    episodes=8,
    epochs=2,
    minibatches=2,
    policy_learning_rate=3e-3,
    value_learning_rate=3e-3,
    kl_control="adaptive",
    kl_horizon=100.0,
    kl_coefficient=0.01,
    max_new_tokens=6,
    autocast=False,
    watch=WATCH,
    lora=tiny.LORA,
)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run's loop, and what it trains."""

    loop: Iterator[StepReport]
    weights: Callable[[], Mapping[str, Tensor]]


def _of(roles: Roles, loop: Iterator[StepReport], *names: str) -> Begun:
    def weights() -> Mapping[str, Tensor]:
        return {
            key: parameter
            for name in names
            for key, parameter in roles.named_parameters_of(name).items()
        }

    return Begun(loop, weights)


def _sft(state: TrainingState) -> Begun:
    roles = Roles(tiny.loaded())
    shown = [TokenizedDemonstration(*tiny.token_ids(4, 5 + n % 3, seed=n)) for n in range(16)]
    config = SftConfig(
        epochs=10, batch_size=4, learning_rate=1e-2, lora=tiny.LORA, autocast=False, row_tokens=24
    )
    return _of(roles, finetuning.train(roles, shown, config, state), SFT)


def _reward(state: TrainingState) -> Begun:
    roles = Roles(tiny.loaded())
    config = RewardConfig(
        members=2,
        epochs=5,
        batch_rankings=4,
        learning_rate=1e-2,
        evaluate_every=3,
        patience=0,
        lora=tiny.LORA,
        autocast=False,
        criteria=CRITERIA,
    )
    names = reward_model.prepare(roles, config)
    train = [*rankings(16), *rated(16)]
    loop = reward_model.train(
        roles, train, [*rankings(3, start=90), *rated(3, start=90)], config, state
    )
    heads = (head for name in names for head in criterion_heads.head_names(name, CRITERIA))
    return _of(roles, loop, *names, *heads)


def _ppo(state: TrainingState) -> Begun:
    roles = tiny.roles(SFT)
    ppo.prepare(roles, PPO, reward=None)
    loop = ppo.train(roles, prompts(20), prompts(4, start=50), LikesOneSide(), PPO, state)
    return _of(roles, loop, "policy", "value")


def _rloo(state: TrainingState) -> Begun:
    roles, config = tiny.roles(SFT), RlooConfig(4, PPO)
    rloo.prepare(roles, config)
    loop = rloo.train(roles, prompts(20), prompts(4, start=50), LikesOneSide(), config, state)
    return _of(roles, loop, "policy")


def _dpo(state: TrainingState) -> Begun:
    roles = tiny.roles(SFT)
    config = DpoConfig(
        epochs=10, batch_rankings=4, learning_rate=1e-2, autocast=False, lora=tiny.LORA
    )
    dpo.prepare(roles, config)
    loop = dpo.train(roles, rankings(16), config, state, _watch(roles, state, heldout=0))
    return _of(roles, loop, "policy")


def _best_of_n(state: TrainingState) -> Begun:
    roles = tiny.roles(SFT)
    imitation = SftConfig(
        epochs=10, batch_size=6, learning_rate=2e-2, lora=tiny.LORA, autocast=False
    )
    config = BestOfNConfig(SAMPLING, imitation, kl_coefficient=0.0)
    best_of_n.prepare(roles, config)
    loop = best_of_n.train(roles, prompts(24), LikesOneSide(), config, state, _watch(roles, state))
    return _of(roles, loop, "policy")


def _watch(roles: Roles, state: TrainingState, *, heldout: int = 4) -> PolicyWatch:
    """Return a watch; without held-out prompts the last weights stay, not the best."""
    held = prompts(heldout, start=50)
    drawn = SamplingConfig(max_new_tokens=6)
    return PolicyWatch(roles, held, LikesOneSide(), WATCH, drawn, Forward(autocast=False), state)


ALGORITHMS: Mapping[str, Callable[[TrainingState], Begun]] = {
    "sft": _sft,
    "reward": _reward,
    "ppo": _ppo,
    "rloo": _rloo,
    "dpo": _dpo,
    "best-of-n": _best_of_n,
}
"""Each takes `STEPS` steps."""
