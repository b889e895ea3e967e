import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.models import LoadedModel
from worker.rlhf.roles import Roles


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def loaded() -> LoadedModel:
    return tiny.loaded()


@pytest.fixture
def roles() -> Roles:
    """Policy, value and reward adapters that all differ; heads for the latter two."""
    return tiny.roles("policy", "value", "reward", heads=("value", "reward"))
