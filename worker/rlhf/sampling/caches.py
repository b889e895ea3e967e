"""Key-value caches for sampling.

`RowCache` stores each row contiguously. `SiblingCache` stores a prompt once for all its
completions: sampling is bound by reading keys and values, and n separate rows would read those of
their prompt n times. Attention over the prompt and over a row's own tokens is then two calls, which
are combined by their log-sum-exps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Dimensions of a cache: layers, key-value heads, head width, and tokens to append."""

    layers: int
    heads: int
    width: int
    new_tokens: int
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        """Bytes of a token's keys and values in all layers."""
        return 2 * self.layers * self.heads * self.width * self.dtype.itemsize


class Cache(Protocol):
    """A key-value cache as an engine uses it, layer by layer."""

    def fill(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Store the prompts' keys and values, [B0, G, P, D]."""
        ...

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append a token to each row and return the attention output, [B, H, 1, D]."""
        ...

    def advance(self) -> None:
        """Move to the next token, once all layers have attended."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        ...


def make(is_real: Tensor, n: int, shape: CacheShape) -> Cache:
    """Return the cache for n completions of each left-padded prompt, `is_real` [B0, P]."""
    kind = SiblingCache if n > 1 and is_real.device.type == "cpu" else RowCache
    return kind(is_real, n, shape)


class RowCache:
    """Each row contiguous, [L, 2, B, G, T, D]; the prompt is copied for every completion."""

    def __init__(self, is_real: Tensor, n: int, shape: CacheShape) -> None:
        prompts, self._prompt_length = is_real.shape
        self._pairs = torch.empty(
            shape.layers,
            2,
            prompts * n,
            shape.heads,
            self._prompt_length + shape.new_tokens,
            shape.width,
            dtype=shape.dtype,
            device=is_real.device,
        )
        self._n, self._rows, self._used = n, prompts * n, self._prompt_length
        padded = F.pad(is_real, (0, shape.new_tokens), value=True).repeat_interleave(n, 0)
        self._allowed = None if bool(is_real.all()) else padded[:, None, None]  # B 1 1 T

    def fill(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Copy a prompt's keys and values into each of its rows."""
        self._pairs[layer, 0, :, :, : self._prompt_length] = key.repeat_interleave(self._n, 0)
        self._pairs[layer, 1, :, :, : self._prompt_length] = value.repeat_interleave(self._n, 0)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append the token and attend to the whole row."""
        start, stop = self._used, self._used + 1
        keys, values = self._pairs[layer, :, : self._rows].unbind(0)
        keys[:, :, start:stop] = key
        values[:, :, start:stop] = value
        return F.scaled_dot_product_attention(
            query,
            keys[:, :, :stop],
            values[:, :, :stop],
            attn_mask=None if self._allowed is None else self._allowed[..., :stop],
            enable_gqa=query.shape[1] != key.shape[1],
        )

    def advance(self) -> None:
        """Count the token."""
        self._used += 1

    def keep(self, rows: Sequence[int]) -> None:
        """Copy only the rows whose position changes."""
        _move(self._pairs[:, :, :, :, : self._used], rows)
        self._rows = len(rows)
        if self._allowed is not None:
            self._allowed = self._allowed[torch.tensor(rows, device=self._allowed.device)]


class SiblingCache:
    """Each prompt once, [L, 2, B0, G, P, D], and the rows' own tokens, [L, 2, B, G, R, D]."""

    def __init__(self, is_real: Tensor, n: int, shape: CacheShape) -> None:
        layers, heads, width, dtype = shape.layers, shape.heads, shape.width, shape.dtype
        prompts, length = is_real.shape
        self._shared = torch.empty(layers, 2, prompts, heads, length, width, dtype=dtype)
        self._own = torch.empty(layers, 2, prompts * n, heads, shape.new_tokens, width, dtype=dtype)
        self._used, self._prompts = 0, prompts
        self._prompt_of = torch.arange(prompts).repeat_interleave(n)
        self._mask = None
        if not bool(is_real.all()):
            lowest = torch.finfo(dtype).min
            self._mask = torch.zeros(prompts, 1, 1, length, dtype=dtype)
            self._mask.masked_fill_(~is_real[:, None, None], lowest)
        self._assign_slots()

    def fill(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Store a prompt's keys and values."""
        self._shared[layer, 0], self._shared[layer, 1] = key, value

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append the token and attend: to the row's own tokens, and with siblings to the prompt.

        Both outputs are combined by the share of the prompt in the softmax.
        """
        start, stop = self._used, self._used + 1
        rows, heads, _, width = query.shape
        keys, values = self._own[layer, :, :rows].unbind(0)
        keys[:, :, start:stop] = key
        values[:, :, start:stop] = value
        # The query heads of a group read the same keys, so they are treated like several queries.
        groups = key.shape[1]
        grouped = query.view(rows, groups, heads // groups, width)
        own, own_lse = _attention(grouped, keys[:, :, :stop], values[:, :, :stop], None)
        by_prompt = grouped[self._row_in_slot].permute(0, 2, 1, 3, 4)  # B0 G m H/G D
        prompt_keys, prompt_values = self._shared[layer].unbind(0)
        prompt, prompt_lse = _attention(
            by_prompt.flatten(2, 3), prompt_keys, prompt_values, self._mask
        )
        grid = by_prompt.shape[:-1]
        prompt = prompt.view(*grid, width)[self._prompt_of, :, self._slot_of]
        prompt_lse = prompt_lse.view(grid)[self._prompt_of, :, self._slot_of]
        prompt_share = torch.sigmoid(prompt_lse - own_lse)[..., None]
        return torch.lerp(own, prompt, prompt_share).view(rows, heads, 1, width)

    def advance(self) -> None:
        """Count the token."""
        self._used += 1

    def keep(self, rows: Sequence[int]) -> None:
        """Copy only the rows whose position changes; prompts stay where they are."""
        _move(self._own[:, :, :, :, : self._used], rows)
        self._prompt_of = self._prompt_of[torch.tensor(rows)]
        self._assign_slots()

    def _assign_slots(self) -> None:
        """Give each row a slot among its siblings; empty slots refer to row 0."""
        taken = [0] * self._prompts
        slots: list[int] = []
        for prompt in self._prompt_of.tolist():
            slots.append(taken[prompt])
            taken[prompt] += 1
        self._slot_of = torch.tensor(slots, dtype=torch.long)
        width = max(taken, default=1) or 1
        self._row_in_slot = torch.zeros(self._prompts, width, dtype=torch.long)
        self._row_in_slot[self._prompt_of, self._slot_of] = torch.arange(len(slots))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the attention output and the log-sum-exp of its scores, [B, G, m]."""
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, attn_mask=mask
    )
    return output, lse


def _move(pairs: Tensor, rows: Sequence[int]) -> None:
    """Copy rows to their new positions in place, [L, 2, B, ...]."""
    moves = [(target, source) for target, source in enumerate(rows) if target != source]
    if moves:
        targets, sources = (
            torch.tensor(indices, device=pairs.device) for indices in zip(*moves, strict=True)
        )
        pairs[:, :, targets] = pairs[:, :, sources]
