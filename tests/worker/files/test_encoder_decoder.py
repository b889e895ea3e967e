"""`train` and `generate` on an encoder–decoder model: SFT, reward, policy and DPO from files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM
from transformers import AutoTokenizer

from tests.worker.files import material
from tests.worker.files.material import SMALL, error, ok
from tests.worker.runs.small import save_tiny_t5
from worker.files import models
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.reward import scoring
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import token_ids

pytestmark = pytest.mark.xdist_group("encoder-decoder")  # one runner trains what they share

PEFT_READS_AN_OLD_NAME = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
STEPS = ("--max-new-tokens", 6, "--max-steps", 2, "--set", "evaluate_every=2")


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def t5_sft(t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("t5-sft")
    data = material.demonstrations(root / "demonstrations.jsonl", 16)
    ok("train", "sft", data, "-m", t5, "-o", root / "out", *SMALL, "--epochs", 1)
    return root / "out"


@pytest.fixture(scope="module")
def t5_reward(t5_sft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("t5-reward")
    data = material.preferences(root / "preferences.jsonl", 16)
    ok("train", "reward", data, "-m", t5_sft, "-o", root / "out", *SMALL)
    return root / "out"


@PEFT_READS_AN_OLD_NAME
def test_a_trained_adapter_answers_in_plain_peft_as_it_does_here(t5_sft: Path) -> None:
    plain: Any = AutoPeftModelForSeq2SeqLM.from_pretrained(t5_sft / "model")
    tokenizer = AutoTokenizer.from_pretrained(t5_sft / "model")
    turns = [{"role": "user", "content": "What is 3?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    opened = models.open_model(str(t5_sft), "cpu")
    assert tuple(ids) == token_ids.prompt_ids(opened.roles.loaded, turns, "")
    expected = plain.generate(input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=5)
    config = SamplingConfig(temperature=0.0, max_new_tokens=5)
    (ours,) = sampling.generate(opened.roles, [PromptItem("q", tuple(ids))], config, opened.role)
    assert list(ours.token_ids) == expected[0].tolist()[1:]


def test_a_policy_is_trained_against_a_reward_model(
    t5_sft: Path, t5_reward: Path, tmp_path: Path
) -> None:
    data = material.prompts(tmp_path / "prompts.jsonl")
    head = ("train", "policy", data, "-m", t5_sft, "-r", t5_reward)
    ok(*head, "-o", tmp_path / "out", *STEPS, "--batch-size", 8)
    opened = models.open_model(str(tmp_path / "out"), "cpu")
    assert opened.roles.settings[opened.role].targets == ("q", "v")
    ok("generate", data, "-m", tmp_path / "out", "-o", tmp_path / "a.jsonl", "--max-new-tokens", 5)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 12


def test_a_policy_is_trained_on_comparisons(t5: Path, tmp_path: Path) -> None:
    data = material.preferences(tmp_path / "preferences.jsonl", 16)
    ok("train", "dpo", data, "-m", t5, "-o", tmp_path / "out", *SMALL, "--epochs", 1)
    assert (tmp_path / "out" / "model" / "adapter_config.json").is_file()


def test_a_reward_model_cannot_generate(t5_reward: Path, tmp_path: Path) -> None:
    data = material.prompts(tmp_path / "prompts.jsonl")
    folder = t5_reward / "model" / "reward"
    message = error("generate", data, "-m", folder, "-o", tmp_path / "a.jsonl")
    assert "is a reward model; it scores responses and cannot generate" in message


@PEFT_READS_AN_OLD_NAME
def test_the_code_in_a_reward_models_card_gives_its_score(t5_sft: Path, t5_reward: Path) -> None:
    folder = t5_reward / "model" / "reward"
    turns = [{"role": "user", "content": "What is 3?"}]

    roles = models.open_model(str(t5_sft), "cpu").roles
    models.add_reward(roles, str(t5_reward))
    tokenizer = roles.loaded.tokenizer
    response = (*tokenizer("It is 9.", add_special_tokens=False)["input_ids"], roles.loaded.end_id)
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    (expected,) = reward.raw([Branches(token_ids.prompt_ids(roles.loaded, turns, ""), [response])])[
        0
    ]
    assert material.score_by_card(folder, turns, "It is 9.") == pytest.approx(
        float(expected), abs=1e-5
    )
