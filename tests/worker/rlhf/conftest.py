import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.model import llama
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models run their own layers, to the last bit, instead of ours."""
    monkeypatch.setattr(llama, "supports", lambda _: False)


@pytest.fixture
def loaded() -> LoadedModel:
    return tiny.loaded()


@pytest.fixture
def roles() -> Roles:
    """Policy, value and reward adapters that all differ; heads for the latter two."""
    return tiny.roles("policy", "value", "reward", heads=("value", "reward"))
