"""How many parameters a checkpoint's training trained, as its row, card and log tell."""

import pytest

from tests.worker.rlhf import tiny
from worker.rlhf.model.roles import BASE, LoraSettings, Roles
from worker.training import trained_parameters
from worker.training.model_card import ModelCard


@pytest.fixture
def roles() -> Roles:
    made = Roles(tiny.loaded())
    for name in ("policy", "reward"):
        made.add_adapter(name, LoraSettings(r=2, alpha=4))
    made.add_head("reward", seed=0)
    return made


def test_a_role_counts_itself_and_the_base_but_no_other_role(roles: Roles) -> None:
    base = tiny.loaded().model.num_parameters()
    for names in (["policy"], ["reward"], ["policy", "reward"]):
        own = sum(p.numel() for name in names for p in roles.parameters_of(name))
        size = {"parameters": base + own, "trainable_parameters": own}
        assert trained_parameters.of(roles, names) == {"size": size}
    whole = {"parameters": base, "trainable_parameters": base}
    assert trained_parameters.of(roles, [BASE]) == {"size": whole}


def test_the_card_tells_the_share() -> None:
    settings = {"size": {"parameters": 4000, "trainable_parameters": 50}}
    card = ModelCard("SFT", "SFT of round 1", settings, {})
    assert "Parameters: 4,000, of which 50 (1.25 %) were trained" in card.text()
    assert "Parameters" not in ModelCard("SFT", "SFT of round 1", {}, {}).text()
