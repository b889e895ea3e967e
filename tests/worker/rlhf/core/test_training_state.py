import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from worker.rlhf.core.training_state import TrainingState


def weights(seed: int = 0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a/b.weight": nn.Parameter(torch.randn(3, 2, generator=generator)),
        "head": nn.Parameter(torch.randn(2, generator=generator)),
    }


def optimizers(of: dict[str, nn.Parameter]) -> dict[str, torch.optim.Optimizer]:
    first, second = of.values()
    return {
        "policy": torch.optim.AdamW([first], lr=0.1, weight_decay=0.01, fused=True),
        "value": torch.optim.Adam([second], lr=0.2, eps=1e-5),
    }


def step(of: dict[str, nn.Parameter], by: dict[str, torch.optim.Optimizer]) -> Tensor:
    """Move by chance from all three sources."""
    chance = torch.randn(()) + random.random() + float(np.random.normal())
    loss = torch.stack([(p * chance + 1).square().sum() for p in of.values()]).sum()
    for optimizer in by.values():
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in by.values():
        optimizer.step()
    return loss.detach()


def test_restored_run_goes_on_bit_equal(tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    of, own = weights(), torch.Generator().manual_seed(4)
    by = optimizers(of)
    state = TrainingState()
    state.register(of, by, {"order": own})
    np.random.normal()  # leaves a spare normal behind, which is state too
    step(of, by)
    torch.randn(3, generator=own)
    state.step, state.cursors["prompts"], state.values["kl"] = 1, 64, {"coefficient": 0.1}
    state.save(tmp_path)
    expected = [step(of, by), torch.randn(3, generator=own)]

    again, other = weights(seed=7), torch.Generator().manual_seed(5)
    by_again = optimizers(again)
    restored = TrainingState()
    restored.restore(tmp_path)
    assert restored.step == 1
    assert restored.cursors == {"prompts": 64}
    assert restored.values == {"kl": {"coefficient": 0.1}}
    random.random()
    torch.randn(5)
    restored.register(again, by_again, {"order": other})
    assert torch.equal(step(again, by_again), expected[0])
    assert torch.equal(torch.randn(3, generator=other), expected[1])
    for name, parameter in of.items():
        assert torch.equal(again[name], parameter)


def test_best_weights_survive_and_come_back(tmp_path: Path) -> None:
    of = weights()
    state = TrainingState()
    state.register(of, {})
    assert state.keep_best(0.5)
    best = {name: p.detach().clone() for name, p in of.items()}
    with torch.no_grad():
        for parameter in of.values():
            parameter.add_(1.0)
    state.step = 3
    assert not state.keep_best(0.5)
    state.save(tmp_path)

    again = weights(seed=7)
    restored = TrainingState()
    restored.restore(tmp_path)
    restored.register(again, {})
    assert all(torch.equal(again[name], p) for name, p in of.items())
    assert restored.best is not None
    assert (restored.best.value, restored.best.step) == (0.5, 0)
    restored.load_best()
    assert all(torch.equal(again[name], p) for name, p in best.items())


def test_what_is_no_number_is_never_the_best() -> None:
    state = TrainingState()
    state.register(weights(), {})
    assert not state.keep_best(float("nan"))
    assert state.keep_best(-1.0)
    assert not state.keep_best(float("nan"))
    assert state.best is not None
    assert state.best.value == -1.0


def test_nothing_in_the_folder_is_pickled(tmp_path: Path) -> None:
    state = TrainingState()
    state.register(weights(), {})
    state.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_a_run_that_trained_other_weights_is_refused(tmp_path: Path) -> None:
    state = TrainingState()
    state.register(weights(), {})
    state.save(tmp_path)
    restored = TrainingState()
    restored.restore(tmp_path)
    with pytest.raises(ValueError, match="head"):
        restored.register({"a/b.weight": weights()["a/b.weight"]}, {})


def test_a_weight_of_another_shape_is_refused(tmp_path: Path) -> None:
    state = TrainingState()
    state.register(weights(), {})
    state.save(tmp_path)
    restored = TrainingState()
    restored.restore(tmp_path)
    other = weights() | {"head": nn.Parameter(torch.zeros(5))}
    with pytest.raises(ValueError, match=r"'head' has shape \(5,\), saved is \(2,\)"):
        restored.register(other, {})


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, share: float) -> None:
    state = TrainingState()
    state.register(weights(), {})
    state.save(tmp_path)
    path = tmp_path / "training_state.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"training_state\.safetensors is damaged"):
        TrainingState().restore(tmp_path)


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    state = TrainingState()
    state.register(weights(), {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        with pytest.raises(OSError, match="could not be written"):
            state.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
