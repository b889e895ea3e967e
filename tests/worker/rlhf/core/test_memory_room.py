"""Out of memory: half the tokens, from the last step on, and the same weights as with these."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core import memory_room
from worker.rlhf.core.examples import PreferencePair, RankedPrompt, TokenizedDemonstration
from worker.rlhf.core.memory_room import MemoryRoom
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import dpo, ppo
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.reward import reward_model
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

BUDGET = 32
STEPS = 3
RANKED = [
    RankedPrompt(
        f"r{n}",
        tiny.token_ids(5, seed=n)[0],
        tuple(tiny.token_ids(4, 6, seed=90 + n)),
        (PreferencePair(0, 1, share=1.0),),
    )
    for n in range(24)
]
SHOWN = [TokenizedDemonstration(*tiny.token_ids(4, 5, seed=n)) for n in range(24)]

Loop = Callable[[Roles, int], Iterator[StepReport]]


def _ppo(roles: Roles, tokens: int) -> Iterator[StepReport]:
    config = PpoConfig(
        steps=STEPS,
        episodes=16,
        epochs=2,
        minibatches=2,
        max_new_tokens=6,
        lora=tiny.LORA,
        autocast=False,
        token_budget=tokens,
        watch=WatchConfig(prompts=0, rules=()),
        policy_learning_rate=1e-2,
    )
    ppo.prepare(roles, config, reward=None)
    return ppo.train(roles, prompts(32), [], LikesOneSide(), config, TrainingState())


def _dpo(roles: Roles, tokens: int) -> Iterator[StepReport]:
    config = DpoConfig(
        batch_rankings=8, lora=tiny.LORA, autocast=False, token_budget=tokens, learning_rate=1e-2
    )
    dpo.prepare(roles, config)
    return dpo.train(roles, RANKED, config, TrainingState())


def _reward(roles: Roles, tokens: int) -> Iterator[StepReport]:
    config = RewardConfig(batch_rankings=8, lora=tiny.LORA, autocast=False, token_budget=tokens)
    reward_model.prepare(roles, config)
    return reward_model.train(roles, RANKED, (), config, TrainingState())


def _sft(roles: Roles, tokens: int) -> Iterator[StepReport]:
    config = SftConfig(
        epochs=1, batch_size=8, lora=tiny.LORA, autocast=False, micro_tokens=tokens, row_tokens=32
    )
    return finetuning.train(roles, SHOWN, config, TrainingState())


class _Memory:
    """Runs out at the nth forward pass from a moment on, once, if gradients are computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.left: int | None = None
        self._at = at
        own = Roles.hidden

        def hidden(roles: Roles, *given: object, **named: object) -> Tensor:
            states = own(roles, *given, **named)  # type: ignore[arg-type]
            if torch.is_grad_enabled() and self.left is not None:
                self.left -= 1
                if self.left == 0:
                    self.left = None
                    raise torch.OutOfMemoryError("CUDA out of memory (injected)")
            return states

        monkeypatch.setattr(Roles, "hidden", hidden)

    def run_out(self) -> None:
        self.left = self._at


class _Passages:
    """Counts what is done within memory, and halves another run's room where one ran out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count, self._at = 0, 0
        self._other: MemoryRoom | None = None
        taking, halve = MemoryRoom.taking, MemoryRoom._halve

        def counted(room: MemoryRoom, act: Any, **given: Any) -> Any:
            self._count += 1
            if room is self._other and self._count == self._at:
                room.halvings = 1
            return taking(room, act, **given)

        def noted(room: MemoryRoom, tokens: int) -> None:
            self._at = self._count
            halve(room, tokens)

        monkeypatch.setattr(MemoryRoom, "taking", counted)
        monkeypatch.setattr(MemoryRoom, "_halve", noted)

    def halve_there(self, other: MemoryRoom) -> None:
        self._count, self._other = 0, other


def _weights(roles: Roles) -> list[Tensor]:
    adapters = [p for name in roles.settings for p in roles.parameters_of(name)]
    return [p.detach().clone() for p in adapters]


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("begin", [_ppo, _dpo, _reward, _sft])
def test_a_run_that_runs_out_of_memory_has_the_weights_of_half_the_budget_from_there(
    begin: Loop, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = _Memory(monkeypatch, at)
    failing, halved = Roles(tiny.loaded()), Roles(tiny.loaded())
    monkeypatch.setattr(memory_room, "LEAST_TOKENS", 4)
    loops = [begin(roles, BUDGET) for roles in (failing, halved)]
    for loop in loops:
        next(loop)
    ran_out = _Passages(monkeypatch)
    memory.run_out()
    next(loops[0])
    assert memory.left is None  # it did run out
    assert failing.room.halvings == 1
    assert f"Memory ran out at {BUDGET} tokens" in failing.room.notes[0]
    ran_out.halve_there(halved.room)
    next(loops[1])
    assert halved.room.halvings == 1
    next(loops[0])
    next(loops[1])
    for ours, expected in zip(_weights(failing), _weights(halved), strict=True):
        assert torch.equal(ours, expected)


def test_a_budget_that_cannot_be_halved_is_an_error_and_what_is_taken_again_forgets() -> None:
    room, weight = MemoryRoom(), torch.nn.Parameter(torch.ones(()))
    budgets: list[int] = []

    def act() -> None:
        budgets.append(room.of(256))
        assert weight.grad is None
        weight.grad = torch.ones(())
        raise torch.OutOfMemoryError("CUDA out of memory (injected)")

    with pytest.raises(torch.OutOfMemoryError):
        room.taking(act, tokens=256, forget=[weight])
    assert budgets == [256, 128, 64]
    assert len(room.notes) == 2
    assert "Memory ran out at 256 tokens per forward pass." in room.notes[0]
    assert "repeated with 128" in room.notes[0]


def test_a_budget_fits_into_the_free_memory() -> None:
    gib = 2**30
    found = [
        memory_room.tokens_for(free * gib, 2**20, least=512, most=65_536) for free in (0, 4, 999)
    ]
    assert found == [512, 2304, 65_536]
    assert memory_room.free_bytes(torch.device("cpu")) is None


def test_one_of_several_processes_does_not_repeat_a_pass_alone() -> None:
    room = MemoryRoom()
    room.is_fixed = True
    with pytest.raises(torch.OutOfMemoryError, match="set a smaller token_budget"):
        room.taking(_out_of_memory, tokens=4096)
    assert room.halvings == 0


def _out_of_memory() -> None:
    raise torch.OutOfMemoryError
