"""Each family through SFT, reward model, PPO, DPO, saving and reloading, or refused by its name."""

import math
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from tests.worker.families import table
from tests.worker.families.known import REFUSED, WORKING, Family
from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from tests.worker.rlhf.reward.test_reward_model import rankings
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import miniature, models, saving
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import dpo, ppo
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.ranking_loss import branches_of
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig
from worker.training import model_check

# Plain PEFT reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")

TOLERANCE = 2e-4
SFT = SftConfig(
    epochs=1,
    batch_size=4,
    max_steps=1,
    learning_rate=1e-2,
    warmup_share=0.0,
    lora=tiny.LORA,
    autocast=False,
)
REWARD = RewardConfig(batch_rankings=2, learning_rate=1e-2, lora=tiny.LORA, autocast=False)
PPO = PpoConfig(
    steps=1,
    episodes=3,
    epochs=1,
    policy_learning_rate=1e-2,
    value_learning_rate=1e-2,
    max_new_tokens=5,
    autocast=False,
    lora=tiny.LORA,
    watch=WatchConfig(every=2, prompts=1, rules=()),
)
DPO = DpoConfig(batch_rankings=2, learning_rate=1e-2, max_steps=1, autocast=False, lora=tiny.LORA)
IDS = torch.tensor(tiny.token_ids(14))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def demonstrations() -> list[TokenizedDemonstration]:
    """Return demonstrations that are longer than the miniatures' windows."""
    texts = zip(tiny.token_ids(4, 9, 3, 6), tiny.token_ids(8, 5, 11, 7, seed=1), strict=True)
    return [TokenizedDemonstration(prompt, response) for prompt, response in texts]


@torch.no_grad()
def logprobs(model: PreTrainedModel | PeftModel) -> Tensor:
    """Return what plain transformers computes."""
    model.eval()
    found: Tensor = model(input_ids=IDS, use_cache=False).logits.log_softmax(-1)
    return found


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def sft_is_exact(roles: Roles) -> None:
    """Packed where the probe allows it, with the loss of each demonstration alone."""
    (report,) = finetuning.train(roles, demonstrations(), SFT, TrainingState())
    assert math.isfinite(report.metrics["loss"])
    together = finetuning.evaluate(roles, "sft", demonstrations(), SFT)
    with torch.no_grad(), roles.role("sft"):
        total = torch.zeros(())
        for text in demonstrations():
            ids = torch.tensor([[*text.prompt_ids, *text.response_ids]])
            rows = roles.causal(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            before = rows[len(text.prompt_ids) - 1 : -1]
            total -= before.gather(-1, torch.tensor(text.response_ids)[:, None]).sum()
    tokens = sum(len(text.response_ids) for text in demonstrations())
    assert together == pytest.approx(float(total) / tokens, abs=TOLERANCE)


def reward_is_exact(roles: Roles) -> scoring.AdapterReward:
    """Prompts shared where the probe allows it, with the score of each completion alone."""
    reward_model.prepare(roles, REWARD)
    reports = list(reward_model.train(roles, rankings(2), (), REWARD, TrainingState()))
    assert math.isfinite(reports[-1].metrics["loss"])
    reward = scoring.AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    branches = [branches_of(ranked) for ranked in rankings(2)]
    alone = [
        roles.score("reward", hidden_of(roles, [*branch.prompt_ids, *ids]))
        for branch in branches
        for ids in branch.completions
    ]
    assert_same(reward.raw(branches)[0], torch.stack(alone))
    return reward


@torch.no_grad()
def hidden_of(roles: Roles, ids: list[int]) -> Tensor:
    with roles.role("reward"):
        trunk = models.trunk(roles.causal)
        output = trunk(input_ids=torch.tensor([ids]), use_cache=False)
    hidden: Tensor = output.last_hidden_state[0, -1]
    return hidden


def ppo_samples_its_own_distribution(roles: Roles) -> None:
    ppo.prepare(roles, PPO, reward="reward")
    (report,) = ppo.train(
        roles, prompts(3), prompts(1, start=50), LikesOneSide(), PPO, TrainingState()
    )
    assert report.metrics["policy/sampler_deviation"] < TOLERANCE
    assert report.metrics["kl/k1"] == pytest.approx(0.0, abs=TOLERANCE)
    assert all(map(math.isfinite, report.metrics.values()))


def dpo_starts_at_ln_two(roles: Roles) -> None:
    dpo.prepare(roles, DPO)
    (report,) = dpo.train(roles, rankings(2), DPO, TrainingState())
    assert report.metrics["loss"] == pytest.approx(math.log(2), abs=TOLERANCE)
    assert report.metrics["grad_norm"] > 0.0


def reloads(roles: Roles, folder: Path, *, has_classifier: bool) -> None:
    """Adapter, merged model and reward model compute in plain transformers what they do here."""
    with roles.role("policy"):
        expected = logprobs(roles.causal)
    assert not torch.allclose(expected, logprobs(roles.causal), atol=TOLERANCE), "nothing learned"
    saving.save_policy(roles, folder / "policy")
    assert_same(logprobs(AutoPeftModelForCausalLM.from_pretrained(folder / "policy")), expected)
    saving.save_policy(roles, folder / "merged", merged=True)
    assert_same(logprobs(AutoModelForCausalLM.from_pretrained(folder / "merged")), expected)
    saving.save_reward(roles, folder / "reward")
    if not has_classifier:
        return
    plain = AutoModelForSequenceClassification.from_pretrained(
        folder / "base", num_labels=1, pad_token_id=0
    )
    scored = PeftModel.from_pretrained(plain, folder / "reward").eval()
    with torch.no_grad():
        score = scored(input_ids=IDS, use_cache=False).logits[0, 0]
    assert_same(score, roles.score("reward", hidden_of(roles, IDS[0].tolist())))


@pytest.mark.parametrize("family", WORKING, ids=lambda family: family.title)
def test_a_family_works_from_sft_to_plain_transformers(family: Family, tmp_path: Path) -> None:
    small = miniature.build(family.config)
    loaded = models.adopt(small, tiny.tokenizer(), family.model_type)
    roles = Roles(saving.save_full(loaded, tmp_path / "base"))
    model_check.guard(roles, family.title)
    sft_is_exact(roles)
    reward_is_exact(roles)
    ppo_samples_its_own_distribution(roles)
    line = table.row(family)
    reloads(roles, tmp_path, has_classifier=line.endswith("yes |"))
    dpo_starts_at_ln_two(Roles(models.load(tmp_path / "base")))
    assert line in table.PAGE.read_text(encoding="utf-8"), (
        "run python -m tests.worker.families.table"
    )


@pytest.mark.parametrize("family", REFUSED, ids=lambda family: family.title)
def test_a_family_that_is_refused_is_named_with_the_reason(family: Family, tmp_path: Path) -> None:
    family.config.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    found = model_check.check(str(tmp_path))
    assert found.refusal is not None
    assert repr(family.model_type) in found.refusal
    line = f"| {family.title} | `{family.model_type}` | {found.refusal} |"
    assert line in table.PAGE.read_text(encoding="utf-8"), (
        "run python -m tests.worker.families.table"
    )


def test_the_table_has_every_family_and_no_other() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    rows = page.partition(table.START)[2].partition(table.END)[0].count("\n| ")
    headers = len(table.HEADER) + len(table.REFUSED_HEADER)
    assert rows == len(WORKING) + len(REFUSED) + headers
