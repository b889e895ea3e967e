"""The search for SFT's learning rate, on a small starter and demonstrations it can learn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.lora import Lora
from app.domain.plan import SftPlan, Starter
from app.domain.rate_search import MeasuredOn
from tests.worker.rlhf import tiny
from tests.worker.training import counting_words
from tests.worker.training.test_reward_search import Silent
from worker.files.run_folder import RunFolder
from worker.orders import Interrupted, Orders
from worker.rlhf.model.roles import Roles
from worker.training import sft, sft_search
from worker.training.model_card import ModelCard
from worker.training.sft import SftInputs, SftResult

STARTER = Starter(300, 16, 1, 2)
PLAN = SftPlan(epochs=2, batch_size=16, starter=STARTER)
TRAIN, HELDOUT = counting_words.demonstrations(480), counting_words.demonstrations(32, seed=2)


def inputs_of(plan: SftPlan = PLAN, train: int = 480, heldout: int = 32) -> SftInputs:
    return SftInputs(plan, TRAIN[:train], HELDOUT[:heldout], "", True, False, 0)


def fitted(
    folder: Path, inputs: SftInputs, watcher: Silent | None = None, orders: Orders | None = None
) -> tuple[SftResult, dict[str, Any], Silent]:
    watcher = watcher or Silent()
    torch.manual_seed(0)
    loaded = sft.build_starter(STARTER, TRAIN, "", seed=0, device="cpu")
    result = sft.fit(RunFolder(folder, watcher, orders), Roles(loaded), inputs)
    assert result is not None
    return result, result.metrics.get("rate_search", {}), watcher


def test_an_open_rate_is_searched_for_recorded_and_searched_for_again_after_a_kill(
    tmp_path: Path,
) -> None:
    result, search, watcher = fitted(tmp_path / "whole", inputs_of())
    assert search["measured"] == MeasuredOn.HELDOUT
    assert search["took"] <= 0.2
    assert search["usual"] == sft_search.STARTER_RATE
    rate = search["rate"]
    assert rate == result.config.learning_rate > search["usual"]
    assert search["sentence"] in watcher.said
    card = ModelCard("SFT", "SFT", {}, result.metrics).text()
    assert search["sentence"] in card
    assert "accuracy" not in card.split("Rates that were tried")[1]
    loss = result.metrics["heldout/loss"]
    # The search has left the model as it was: the rate without a search gives the same.
    plain, _, _ = fitted(tmp_path / "plain", inputs_of(replace(PLAN, learning_rate=rate)))
    assert plain.metrics["heldout/loss"] == loss
    usual, _, _ = fitted(tmp_path / "usual", inputs_of(replace(PLAN, learning_rate=1e-3)))
    assert loss < usual.metrics["heldout/loss"]
    stopped, orders = Silent(), Orders()
    stopped.stop_at = (9, orders)
    with pytest.raises(Interrupted, match="searching for a learning rate"):
        fitted(tmp_path / "killed", inputs_of(), stopped, orders)
    again, repeated, _ = fitted(tmp_path / "killed", inputs_of())
    assert (repeated, again.metrics["heldout/loss"]) == (search, loss)


@pytest.mark.parametrize(
    ("plan", "train", "why"),
    [
        (PLAN, 40, "too few demonstrations for a search within 20 %"),
        (replace(PLAN, search_share=0.0), 480, "the plan leaves no time for a search"),
    ],
)
def test_without_time_for_a_search_the_usual_rate_is_taken_and_said(
    plan: SftPlan, train: int, why: str, tmp_path: Path
) -> None:
    result, search, watcher = fitted(tmp_path, inputs_of(replace(plan, max_steps=4), train))
    assert result.config.learning_rate == search["usual"]
    assert search["trials"] == ()
    assert any(why in sentence for sentence in watcher.said)


def test_without_held_out_demonstrations_some_are_set_aside(tmp_path: Path) -> None:
    _, search, _ = fitted(tmp_path, inputs_of(replace(PLAN, epochs=4), heldout=0))
    assert search["measured"] == MeasuredOn.FOLDS
    assert "demonstrations set aside in turn from the training data" in search["sentence"]


def test_the_usual_rate_follows_what_is_trained() -> None:
    roles = Roles(tiny.loaded())
    lora = Lora(r=tiny.LORA.r, alpha=tiny.LORA.alpha)
    adapter, full = (
        sft.config_of(SftPlan(is_full=is_full, lora=lora), is_starter=False, seed=0)
        for is_full in (False, True)
    )
    rates = [sft_search.usual_rate(roles, one, is_starter=False) for one in (adapter, full)]
    assert rates[0] == pytest.approx(10 * rates[1])
