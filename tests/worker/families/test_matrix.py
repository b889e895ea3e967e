"""Each family through SFT, reward model, PPO, DPO, saving and reloading, or refused by its name."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.domain.lora import Lora
from tests.worker import stored_models
from tests.worker.families import plain, table
from tests.worker.families.known import REFUSED, WORKING, Family
from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from tests.worker.rlhf.reward.test_reward_model import rankings
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import miniature, models, saving
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.policy import dpo, ppo
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.ranking_loss import branches_of
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig
from worker.training import adapter_shape, model_check

# Plain PEFT reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")

TOLERANCE = 2e-4
MATRIX_LEAST = 25
SFT = SftConfig(
    epochs=1,
    batch_size=4,
    max_steps=1,
    learning_rate=1e-2,
    warmup_share=0.0,
    autocast=False,
)
REWARD = RewardConfig(batch_rankings=2, learning_rate=1e-2, autocast=False)
PPO = PpoConfig(
    steps=1,
    episodes=3,
    epochs=1,
    policy_learning_rate=1e-2,
    value_learning_rate=1e-2,
    max_new_tokens=5,
    autocast=False,
    watch=WatchConfig(every=2, prompts=1, rules=()),
)
DPO = DpoConfig(batch_rankings=2, learning_rate=1e-2, max_steps=1, autocast=False)
IDS = tiny.token_ids(14)[0]
TEXT = TokenizedDemonstration(IDS[:8], IDS[8:])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def shape(roles: Roles) -> LoraSettings:
    """Return the adapter's shape: small, on the layers that commands and rounds choose."""
    return adapter_shape.of(Lora(tiny.LORA.r, tiny.LORA.alpha), roles)


def demonstrations() -> list[TokenizedDemonstration]:
    """Return demonstrations that are longer than the miniatures' windows."""
    texts = zip(tiny.token_ids(4, 9, 3, 6), tiny.token_ids(8, 5, 11, 7, seed=1), strict=True)
    return [TokenizedDemonstration(prompt, response) for prompt, response in texts]


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def sft_is_exact(roles: Roles) -> None:
    """Packed where the probe allows it, with the loss of each demonstration alone."""
    config = replace(SFT, lora=shape(roles))
    (report,) = finetuning.train(roles, demonstrations(), config, TrainingState())
    assert math.isfinite(report.metrics["loss"])
    together = finetuning.evaluate(roles, "sft", demonstrations(), config)
    with roles.role("sft"):
        total = sum(
            float(plain.logprobs(roles.causal, roles.loaded, text).gather(-1, ids).sum())
            for text in demonstrations()
            for ids in (torch.tensor(text.response_ids)[:, None],)
        )
    tokens = sum(len(text.response_ids) for text in demonstrations())
    assert together == pytest.approx(-total / tokens, abs=TOLERANCE)


def reward_is_exact(roles: Roles) -> None:
    """Prompts shared where the probe allows it, with the score of each completion alone."""
    config = replace(REWARD, lora=shape(roles))
    reward_model.prepare(roles, config)
    reports = list(reward_model.train(roles, rankings(2), (), config, TrainingState()))
    assert math.isfinite(reports[-1].metrics["loss"])
    reward = scoring.AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    branches = [branches_of(ranked) for ranked in rankings(2)]
    alone = [
        score_of(roles, TokenizedDemonstration(tuple(branch.prompt_ids), tuple(ids)))
        for branch in branches
        for ids in branch.completions
    ]
    assert_same(reward.raw(branches)[0], torch.stack(alone))


def score_of(roles: Roles, text: TokenizedDemonstration) -> Tensor:
    return roles.score("reward", plain.last_hidden(roles, "reward", text))


def ppo_samples_its_own_distribution(roles: Roles) -> None:
    config = replace(PPO, lora=shape(roles))
    ppo.prepare(roles, config, reward="reward")
    (report,) = ppo.train(
        roles, prompts(3), prompts(1, start=50), LikesOneSide(), config, TrainingState()
    )
    assert report.metrics["policy/sampler_deviation"] < TOLERANCE
    assert report.metrics["kl/k1"] == pytest.approx(0.0, abs=TOLERANCE)
    assert all(map(math.isfinite, report.metrics.values()))


def dpo_starts_at_ln_two(roles: Roles) -> None:
    config = replace(DPO, lora=shape(roles))
    dpo.prepare(roles, config)
    (report,) = dpo.train(roles, rankings(2), config, TrainingState())
    assert report.metrics["loss"] == pytest.approx(math.log(2), abs=TOLERANCE)
    assert report.metrics["grad_norm"] > 0.0


def reloads(roles: Roles, folder: Path, *, is_scored: bool) -> None:
    """Adapter, merged model and reward model compute in plain transformers what they do here."""
    loaded = roles.loaded
    with roles.role("policy"):
        expected = plain.logprobs(roles.causal, loaded, TEXT)
    before = plain.logprobs(roles.causal, loaded, TEXT)
    assert not torch.allclose(expected, before, atol=TOLERANCE), "nothing learned"
    saving.save_policy(roles, folder / "policy")
    assert_same(plain.logprobs(plain.adapted(folder / "policy", loaded), loaded, TEXT), expected)
    saving.save_policy(roles, folder / "merged", merged=True)
    assert_same(plain.logprobs(plain.whole(folder / "merged", loaded), loaded, TEXT), expected)
    saving.save_reward(roles, folder / "reward")
    if is_scored:
        found = plain.score(folder / "base", folder / "reward", loaded, TEXT)
        assert_same(found, score_of(roles, TEXT))


MATRIX = [
    pytest.param(family, id=family.title, marks=[pytest.mark.slow] if family.like else [])
    for family in WORKING
]


@pytest.mark.parametrize("family", MATRIX)
def test_a_family_works_from_sft_to_plain_transformers(family: Family, tmp_path: Path) -> None:
    small = miniature.build(family.config)
    loaded = models.adopt(small, tiny.tokenizer(), family.model_type)
    roles = Roles(saving.save_full(loaded, tmp_path / "base"))
    model_check.guard(roles, family.title)
    sft_is_exact(roles)
    reward_is_exact(roles)
    ppo_samples_its_own_distribution(roles)
    line = table.row(family)
    reloads(roles, tmp_path, is_scored=not line.endswith(" no |"))
    dpo_starts_at_ln_two(Roles(models.load(tmp_path / "base")))
    assert line in table.PAGE.read_text(encoding="utf-8"), (
        "run python -m tests.worker.families.table"
    )


@pytest.mark.parametrize("family", REFUSED, ids=lambda family: family.title)
def test_a_family_that_is_refused_is_named_with_the_reason(family: Family, tmp_path: Path) -> None:
    family.config.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    stored_models.write_weights(tmp_path, family.config)
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


def test_a_family_that_runs_with_the_slow_tests_takes_the_paths_of_one_that_does_not() -> None:
    by_title = {family.title: family for family in WORKING}
    paths = {title: paths_of(title) for title in by_title}
    for family in WORKING:
        if family.like:
            assert not by_title[family.like].like, family.title
            assert paths[family.title] == paths[family.like], family.title
    assert sum(not family.like for family in WORKING) >= MATRIX_LEAST


def paths_of(title: str) -> tuple[str, ...]:
    """Return how the table says that a family is sampled and laid out, and whether in experts."""
    rows = table.PAGE.read_text(encoding="utf-8").partition(table.START)[2].splitlines()
    (row,) = (line for line in rows if line.startswith(f"| {title} |"))
    _, _, _, sampling, packed, shared, layers, _, _ = (cell.strip() for cell in row.split("|"))
    windows = (cell.partition(" to ")[0] for cell in (packed, shared))
    return (sampling, *windows, layers.partition("; ")[2])
