"""Which of a plan's rewards an operator's list of models is asked about."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.allowed_models import AllowedModels
from app.domain.reward_parts import PartKind, RewardPart
from app.domain.reward_plan import RewardPlan
from app.errors import Invalid
from worker.runs.data import reward_reading

CONTEXT: Any = SimpleNamespace(
    allowed_models=AllowedModels(("/models/*",), ()), once=lambda act: act()
)


def _check(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setattr("worker.training.reward_parts.check", lambda *_: None)
    plan = RewardPlan(parts=(RewardPart(kind=PartKind.REWARD_MODEL, model=model),))
    reward_reading.check(CONTEXT, SimpleNamespace(id=1), plan)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["Reward 2", "helpful/Reward 2"])
def test_a_reward_model_trained_here_is_on_no_list(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    _check(monkeypatch, model)


def test_a_published_reward_model_must_be_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="/elsewhere/reward"):
        _check(monkeypatch, "/elsewhere/reward")
