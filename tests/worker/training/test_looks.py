"""Evaluations on held-out data take at most their share of a training, counted in tokens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.lora import Lora
from app.domain.plan import Algorithm, PolicyPlan, RoundPlan, Sampling, SftPlan
from app.domain.reward_plan import RewardPlan
from app.domain.step_counts import LOOKS_SHARE, SCORING_COST
from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from tests.worker.rlhf.reward.test_reward_model import rankings
from tests.worker.training import counting_words
from tests.worker.training.test_reward_search import Silent
from worker.files.run_folder import RunFolder
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy.policy_watch import PolicyWatch
from worker.rlhf.reward.normalizer import Normalizer, Scale
from worker.rlhf.reward.reward_model import RewardRun
from worker.rlhf.sft import finetuning
from worker.training import policy, reward, sft
from worker.training.policy import PromptRoom
from worker.training.reward import RewardInputs
from worker.training.sft import SftInputs

LORA = Lora(r=tiny.LORA.r, alpha=tiny.LORA.alpha)


@dataclass(slots=True)
class Cost:
    """What was forwarded in evaluations and in the training, in tokens trained on."""

    looks: float = 0.0
    training: float = 0.0
    is_look: bool = False

    def add(self, _: object, given: tuple[Any, ...], __: object) -> None:
        tokens = given[0].numel() * (1.0 if torch.is_grad_enabled() else SCORING_COST)
        if self.is_look:
            self.looks += tokens
        else:
            self.training += tokens


@contextmanager
def counted(roles: Roles, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Iterator[Cost]:
    """Count the tokens of a model's forward passes, and those within a function apart."""
    cost, inner = Cost(), getattr(owner, name)

    def look(*given: Any, **named: Any) -> Any:
        cost.is_look = True
        try:
            return inner(*given, **named)
        finally:
            cost.is_look = False

    monkeypatch.setattr(owner, name, look)
    embeddings = roles.causal.get_input_embeddings()
    hook = embeddings.register_forward_hook(cost.add)
    yield cost
    hook.remove()


def of_sft(folder: Path, roles: Roles) -> None:
    plan = SftPlan(epochs=2, batch_size=8, learning_rate=1e-3, is_full=True)
    rows = counting_words.demonstrations(120)
    sft.fit(
        RunFolder(folder, Silent()), roles, SftInputs(plan, rows[:40], rows, "", False, False, 0)
    )


def of_reward(folder: Path, roles: Roles) -> None:
    settings = RewardPlan(epochs=3, batch_size=4, learning_rate=1e-3, patience=0, lora=LORA)
    plan = RoundPlan(reward=settings, sampling=Sampling(max_new_tokens=4))
    asked = [("one", [{"role": "user", "content": "Who?"}])]
    inputs = RewardInputs(plan, rankings(36), rankings(20, start=99), {}, asked, "", 36)
    reward.fit(RunFolder(folder, Silent()), roles, inputs, ())


def of_policy(algorithm: Algorithm) -> Callable[[Path, Roles], None]:
    def train(folder: Path, roles: Roles) -> None:
        settings = PolicyPlan(
            algorithm=algorithm, prompts=32, epochs=4, batch_size=16, learning_rate=1e-5, lora=LORA
        )
        plan = RoundPlan(policy=settings, sampling=Sampling(max_new_tokens=6))
        room = PromptRoom(prompts(32), prompts(64, start=50))
        scale = Normalizer((Scale(),))
        judged = rankings(32) if algorithm is Algorithm.DPO else ()
        watcher = Silent()
        policy.train(RunFolder(folder, watcher), roles, plan, room, LikesOneSide(), scale, judged)
        assert any("of 64 held-out prompts every" in sentence for sentence in watcher.said)

    return train


@pytest.mark.parametrize(
    ("train", "look"),
    [
        (of_sft, (finetuning, "evaluate")),
        (of_reward, (RewardRun, "evaluate")),
        *((of_policy(each), (PolicyWatch, "_evaluate")) for each in Algorithm),
    ],
    ids=["sft", "reward", *Algorithm],
)
def test_looks_take_at_most_their_share(
    train: Callable[[Path, Roles], None],
    look: tuple[Any, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roles = Roles(tiny.loaded())
    with counted(roles, monkeypatch, *look) as cost:
        train(tmp_path, roles)
    assert 0 < cost.looks <= LOOKS_SHARE * cost.training


def test_the_held_out_loss_of_a_short_sft_is_measured_on_some_and_says_so(tmp_path: Path) -> None:
    rows = counting_words.demonstrations(120)
    plan = SftPlan(epochs=1, batch_size=8, learning_rate=1e-3, is_full=True)
    inputs = SftInputs(plan, rows[:8], rows, "", False, False, 0)
    watcher = Silent()
    for heldout in (rows, rows[: sft.HELDOUT_LEAST]):
        folder = RunFolder(tmp_path / str(len(heldout)), watcher)
        result = sft.fit(folder, Roles(tiny.loaded()), replace(inputs, heldout=heldout))
        assert result is not None
        assert result.metrics["heldout/demonstrations"] == sft.HELDOUT_LEAST
    said = [sentence for sentence in watcher.said if "held-out loss is measured on" in sentence]
    assert len(said) == 1
    assert "16 of 120 demonstrations" in said[0]
