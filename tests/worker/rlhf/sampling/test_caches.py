import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import tiny
from worker.rlhf.sampling import caches, decoding
from worker.rlhf.sampling.caches import Cache, CacheShape, RowCache, SiblingCache

FP32 = 1e-5
PROMPTS, N, LENGTH, NEW = 3, 4, 5, 6
LAYERS, HEADS, GROUPS, WIDTH = 2, 4, 2, 8
LENGTHS = {"full": [5, 5, 5], "padded": [5, 2, 4]}


def is_real(lengths: list[int]) -> torch.Tensor:
    return torch.arange(LENGTH) >= LENGTH - torch.tensor(lengths)[:, None]


def walk(cache: Cache, kept: dict[int, list[int]]) -> list[torch.Tensor]:
    """Return the attention outputs of all rows at every token; at some, rows leave or move."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    for layer in range(LAYERS):
        cache.fill(
            layer, drawn(PROMPTS, GROUPS, LENGTH, WIDTH), drawn(PROMPTS, GROUPS, LENGTH, WIDTH)
        )
    rows, found = PROMPTS * N, []
    for token in range(NEW):
        for layer in range(LAYERS):
            query, key, value = (drawn(rows, count, 1, WIDTH) for count in (HEADS, GROUPS, GROUPS))
            found.append(cache.attend(layer, query, key, value))
        cache.advance()
        if token in kept:
            cache.keep(kept[token])
            rows = len(kept[token])
    return found


@pytest.mark.parametrize("lengths", ["full", "padded"])
def test_a_prompt_kept_once_gives_what_copies_of_it_give(lengths: str) -> None:
    real = is_real(LENGTHS[lengths])
    shape = CacheShape(LAYERS, GROUPS, WIDTH, NEW, torch.float32)
    # A row of each prompt is dropped; then one prompt has no rows left.
    kept = {1: [0, 11, 2, 3, 4, 10, 6, 7, 8], 3: [0, 1, 8, 5]}
    once = walk(SiblingCache(real, N, shape), kept)
    copied = walk(RowCache(real, N, shape), kept)
    for mine, theirs in zip(once, copied, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=FP32, atol=FP32)


def test_single_completions_share_nothing() -> None:
    real = is_real(LENGTHS["full"])
    shape = CacheShape(layers=1, heads=1, width=8, new_tokens=2, dtype=torch.float32)
    made = [caches.make(real, n, shape) for n in (1, 2)]
    assert [type(cache) for cache in made] == [RowCache, SiblingCache]


@pytest.mark.parametrize("kind", [caches.RowCache, caches.SiblingCache])
def test_a_token_takes_two_vectors_a_layer(
    kind: type[caches.RowCache] | type[caches.SiblingCache],
) -> None:
    shape = caches.CacheShape(layers=3, heads=2, width=8, new_tokens=5, dtype=torch.bfloat16)
    assert shape.bytes_per_token == 3 * 2 * 2 * 8 * 2
    prompts, n, length = 4, 2, 7
    cache = kind(torch.ones(prompts, length, dtype=torch.bool), n, shape)
    tensors = [part for part in vars(cache).values() if isinstance(part, Tensor)]
    held = sum(tensor.nbytes for tensor in tensors if tensor.dim() == 6)
    # A prompt's tokens are stored once for all its completions where rows do not repeat them.
    stored = n * prompts if kind is caches.RowCache else prompts
    assert held == (stored * length + n * prompts * 5) * shape.bytes_per_token


def test_on_a_gpu_the_cache_is_in_the_precision_of_the_weights() -> None:
    model = tiny.loaded().model
    torch.nn.Module.to(model, dtype=torch.bfloat16)
    assert decoding.FusedEngine(model, torch.bfloat16)._state is torch.float32  # a CPU's attention
    torch.nn.Module.to(model, device="meta")
    assert decoding.FusedEngine(model, torch.bfloat16)._state is torch.bfloat16
