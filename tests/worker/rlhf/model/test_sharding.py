"""What cannot be divided among processes is refused; the division itself is in `test_parallel`."""

import pytest

from tests.worker.rlhf import tiny
from worker.rlhf.core.parallel import Team
from worker.rlhf.model import sharding


def test_a_model_with_an_encoder_is_not_divided() -> None:
    with pytest.raises(ValueError, match="'t5' have an encoder and a decoder"):
        sharding.divide(tiny.loaded_t5().model, Team())


def test_a_model_that_names_no_layers_is_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.loaded().model
    monkeypatch.setattr(model, "_no_split_modules", None)
    with pytest.raises(ValueError, match="'llama' do not name their layers"):
        sharding.divide(model, Team())


def test_a_model_in_4_bits_is_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.loaded().model
    monkeypatch.setattr(model, "quantization_method", "bitsandbytes", raising=False)
    with pytest.raises(ValueError, match="in 4 bits cannot be divided"):
        sharding.divide(model, Team())
