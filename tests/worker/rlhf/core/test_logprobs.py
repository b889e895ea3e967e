import pytest
import torch
from torch import Tensor, nn

from worker.rlhf.core import logprobs, memory_room

FP32 = 1e-5
N, WIDTH, VOCABULARY = 13, 8, 21


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY)


def states() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(N, WIDTH, generator=generator, requires_grad=True)
    return hidden, torch.randint(VOCABULARY, (N,), generator=generator)


@pytest.mark.parametrize("chunk", [None, 1, 5, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("is_trained", [True, False])
def test_values_and_gradients_are_those_of_cross_entropy(
    head: nn.Linear, chunk: int | None, temperature: float, is_trained: bool
) -> None:
    hidden, ids = states()
    head.requires_grad_(is_trained)
    learning = [hidden, head.weight] if is_trained else [hidden]
    found, entropy = logprobs.of_tokens(hidden, head, ids, temperature, chunk, with_entropy=True)
    logits = head(hidden) / temperature
    expected = -nn.functional.cross_entropy(logits, ids, reduction="none")
    torch.testing.assert_close(found, expected, rtol=FP32, atol=FP32)
    assert entropy is not None
    spread: Tensor = torch.distributions.Categorical(logits=logits).entropy()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(entropy, spread.detach(), rtol=FP32, atol=FP32)
    wanted = torch.autograd.grad(expected.square().sum(), learning)
    computed = torch.autograd.grad(found.square().sum(), learning)
    torch.testing.assert_close(computed, wanted, rtol=1e-4, atol=FP32)


def test_no_more_than_a_chunk_of_logits_is_alive(head: nn.Linear) -> None:
    seen: list[int] = []

    def watched(hidden: Tensor) -> Tensor:
        seen.append(hidden.shape[0])
        return torch.nn.functional.linear(hidden, head.weight)

    hidden, ids = states()
    logprobs.of_tokens(hidden, watched, ids, chunk=4)
    assert max(seen) == 4


def test_low_precision_states_give_fp32_logprobs(head: nn.Linear) -> None:
    hidden, ids = states()
    found, _ = logprobs.of_tokens(hidden.bfloat16(), head.bfloat16(), ids)
    assert found.dtype == torch.float32


def test_no_tokens_give_no_logprobs(head: nn.Linear) -> None:
    found, entropy = logprobs.of_tokens(
        torch.zeros(0, WIDTH), head, torch.zeros(0, dtype=torch.long), with_entropy=True
    )
    assert found.shape == (0,)
    assert entropy is not None
    assert entropy.shape == (0,)


def test_impossible_arguments_are_refused(head: nn.Linear) -> None:
    hidden, ids = states()
    with pytest.raises(ValueError, match=r"temperature must be positive, got 0\.0"):
        logprobs.of_tokens(hidden, head, ids, 0.0)
    with pytest.raises(ValueError, match="chunk must be at least 1 row, got 0"):
        logprobs.of_tokens(hidden, head, ids, chunk=0)
    with pytest.raises(ValueError, match="13 hidden states for 12 tokens"):
        logprobs.of_tokens(hidden, head, ids[1:])


def test_a_gpu_holds_as_many_logits_as_an_eighth_of_its_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert logprobs.chunk_logits(torch.device("cpu")) == logprobs.CHUNK_LOGITS
    found = []
    for free in (0, 2**34, 2**44):
        monkeypatch.setattr(memory_room, "free_bytes", lambda _device, free=free: free)
        found.append(logprobs.chunk_logits(torch.device("cuda")))
    assert found == [logprobs.CHUNK_LOGITS, 2**27, logprobs.MOST_CHUNK_LOGITS]
