"""How near gradients must be to be called the same: in fp32, relative to each tensor's own size."""

from collections.abc import Iterable

from torch import Tensor

RELATIVE = 1e-5  # rounding gives about 1e-6; a mask or a count that is wrong 1e-2 and more


def assert_same(found: Iterable[Tensor], expected: Iterable[Tensor]) -> None:
    """Compare tensor by tensor; an expectation of nothing but zeros tests nothing."""
    for one, other in zip(found, expected, strict=True):
        size = float(other.norm())
        assert size > 0.0
        assert float((one - other).norm()) <= RELATIVE * size
