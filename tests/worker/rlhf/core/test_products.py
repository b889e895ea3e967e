"""Products by oneDNN are those of PyTorch, with their gradients."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worker.rlhf.core import products

FP32 = 1e-4
NO_ONEDNN = "oneDNN's operators are missing from this build of PyTorch"


@pytest.fixture(params=[True, False], ids=["oneDNN", "PyTorch"])
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip(NO_ONEDNN)
    monkeypatch.setattr(products, "prefers_onednn", lambda: request.param)


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_are_those_of_pytorch(dtype: torch.dtype) -> None:
    weight, x, grad = _drawn(12, 20).to(dtype), _drawn(7, 20).to(dtype), _drawn(7, 12).to(dtype)
    bias = _drawn(12).to(dtype)
    expected = x @ weight.T + bias
    tolerance = 0.1 if dtype == torch.bfloat16 else FP32
    torch.testing.assert_close(products.linear(x, weight, bias), expected, atol=tolerance, rtol=0)
    torch.testing.assert_close(products.back(grad, weight), grad @ weight, atol=tolerance, rtol=0)
    columns = grad.T.contiguous().T  # as parts of a larger gradient lie in memory
    torch.testing.assert_close(
        products.back(columns, weight), grad @ weight, atol=tolerance, rtol=0
    )
    for packed in (
        products.PackedLinear(weight, bias),
        products.PackedLinear(weight, bias, is_own=False),
    ):
        for rows in (x, x[:1]):  # rows leave a batch while it is sampled
            torch.testing.assert_close(packed(rows), expected[: len(rows)], atol=tolerance, rtol=0)
        assert packed(x[:, None]).shape == (7, 1, 12)


@pytest.mark.parametrize("error", [None, RuntimeError("bf16 path needs the cpu support avx512bw")])
def test_weights_in_bf16_are_packed_only_where_the_processor_can(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def reorder(weight: Tensor, _rows: int | None) -> Tensor:
        if error is not None:
            raise error
        return weight

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", reorder, raising=False)
    products.packs_bf16.cache_clear()
    weight = _drawn(12, 20).to(torch.bfloat16)
    packed = products.PackedLinear(weight, None)
    products.packs_bf16.cache_clear()
    assert packed._is_packed == (error is None)
    if error is not None:
        x = _drawn(7, 20).to(torch.bfloat16)
        torch.testing.assert_close(packed(x), x @ weight.T)


@pytest.mark.usefixtures("_library")
def test_a_frozen_layer_passes_the_gradient_of_its_input_on() -> None:
    layer = nn.Linear(20, 12)
    layer.requires_grad_(False)
    found = []
    for apply in (layer, lambda rows: products.through(layer, rows)):
        x = _drawn(3, 7, 20).requires_grad_()
        out = apply(x)
        torch.autograd.backward(out.square().sum())
        assert x.grad is not None
        found.append((out.detach(), x.grad))
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, atol=FP32, rtol=FP32)


@pytest.mark.usefixtures("_library")
def test_a_trained_layer_keeps_its_own_gradients() -> None:
    layer = nn.Linear(20, 12)
    torch.autograd.backward(products.through(layer, _drawn(7, 20)).sum())
    assert layer.weight.grad is not None


def test_the_library_depends_on_the_processor_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for vendor in ("AuthenticAMD", "GenuineIntel"):
        described = tmp_path / vendor
        described.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t: fpu\n")
        monkeypatch.setattr(products, "PROCESSOR", described)
        products.prefers_onednn.cache_clear()
        found[vendor] = products.prefers_onednn()
    products.prefers_onednn.cache_clear()
    assert found == {
        "AuthenticAMD": hasattr(torch.ops.mkldnn, "_linear_pointwise"),
        "GenuineIntel": False,
    }
