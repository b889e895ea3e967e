"""bf16 is chosen where it was measured to be faster, and a choice that is held stays."""

from collections.abc import Iterator

import pytest
import torch

from worker.rlhf.model import models, precision


@pytest.fixture(autouse=True)
def _measured_again() -> Iterator[None]:
    precision.hold(None)
    yield
    precision.hold(None)


@pytest.mark.parametrize(("speedup", "is_chosen"), [(4.5, True), (1.2, False), (0.55, False)])
def test_loops_compute_in_bf16_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, speedup: float, is_chosen: bool
) -> None:
    monkeypatch.setattr(precision, "bf16_speedup", lambda: speedup)
    assert precision.has_fast_bf16() is is_chosen
    with models.autocast(None):
        assert torch.is_autocast_enabled("cpu") is is_chosen


def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([2.0, 1.0])
    monkeypatch.setattr(precision, "bf16_speedup", lambda: next(measured))
    assert precision.has_fast_bf16()
    assert precision.has_fast_bf16()
    precision.hold(False)
    assert not precision.has_fast_bf16()


def test_the_best_of_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of fp32, bf16, fp32, bf16: 4 and 2 ms, then 6 and 1 ms."""
    clock = iter([0, 4, 10, 12, 20, 26, 30, 31])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert precision.bf16_speedup(turns=2) == 4.0


def test_devices_that_are_no_cpu_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_speedup", lambda: pytest.fail("measured"))
    assert not precision.has_fast_bf16("meta")
    assert precision.has_fast_bf16("cuda") is torch.cuda.is_bf16_supported(
        including_emulation=False
    )
