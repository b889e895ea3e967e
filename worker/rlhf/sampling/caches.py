"""Keys and values of rows that are being sampled: laid down once, appended to, attended to.

`RowCache` keeps everything of a row together. `SiblingCache` keeps a prompt once for all its
answers: sampling is bound by reading keys and values, and n answers read their prompt's n times
otherwise. Attention over the prompt and over a row's own tokens are two calls then, put together by
their logarithmic sums.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Cache(Protocol):
    """What an engine needs of a cache, layer by layer."""

    def lay(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Lay down the prompts' keys and values, [B0, G, P, D]."""
        ...

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append a token to each row and return what its queries find, [B, H, 1, D]."""
        ...

    def advance(self) -> None:
        """Go on to the next token, once all layers have attended."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        ...


def make(
    is_real: Tensor,
    n: int,
    *,
    layers: int,
    heads: int,
    width: int,
    new_tokens: int,
    dtype: torch.dtype,
) -> Cache:
    """Return the cache for n answers to each left-padded prompt, `is_real` [B0, P]."""
    kind = SiblingCache if n > 1 and is_real.device.type == "cpu" else RowCache
    return kind(is_real, n, (layers, heads, width), new_tokens, dtype)


class RowCache:
    """All of a row in one piece, [L, 2, B, G, T, D]; what siblings share is copied."""

    def __init__(
        self,
        is_real: Tensor,
        n: int,
        shape: tuple[int, int, int],
        new_tokens: int,
        dtype: torch.dtype,
    ) -> None:
        layers, heads, width = shape
        prompts, self._prompt = is_real.shape
        total = self._prompt + new_tokens
        self._known = torch.empty(
            layers, 2, prompts * n, heads, total, width, dtype=dtype, device=is_real.device
        )
        self._n, self._rows, self._used = n, prompts * n, self._prompt
        padded = F.pad(is_real, (0, new_tokens), value=True).repeat_interleave(n, 0)
        self._allowed = None if bool(is_real.all()) else padded[:, None, None]  # B 1 1 T

    def lay(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Copy a prompt's keys and values into each of its rows."""
        self._known[layer, 0, :, :, : self._prompt] = key.repeat_interleave(self._n, 0)
        self._known[layer, 1, :, :, : self._prompt] = value.repeat_interleave(self._n, 0)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append, and attend to all of the row."""
        now, after = self._used, self._used + 1
        keys, values = self._known[layer, :, : self._rows].unbind(0)
        keys[:, :, now:after] = key
        values[:, :, now:after] = value
        return F.scaled_dot_product_attention(
            query,
            keys[:, :, :after],
            values[:, :, :after],
            attn_mask=None if self._allowed is None else self._allowed[..., :after],
            enable_gqa=query.shape[1] != key.shape[1],
        )

    def advance(self) -> None:
        """Count the token."""
        self._used += 1

    def keep(self, rows: Sequence[int]) -> None:
        """Copy only the rows that change place."""
        _move(self._known[:, :, :, :, : self._used], rows)
        self._rows = len(rows)
        if self._allowed is not None:
            self._allowed = self._allowed[torch.tensor(rows, device=self._allowed.device)]


class SiblingCache:
    """A prompt once, [L, 2, B0, G, P, D], and each row's own tokens, [L, 2, B, G, R, D]."""

    def __init__(
        self,
        is_real: Tensor,
        n: int,
        shape: tuple[int, int, int],
        new_tokens: int,
        dtype: torch.dtype,
    ) -> None:
        layers, heads, width = shape
        prompts, length = is_real.shape
        self._shared = torch.empty(layers, 2, prompts, heads, length, width, dtype=dtype)
        self._own = torch.empty(layers, 2, prompts * n, heads, new_tokens, width, dtype=dtype)
        self._used, self._prompts = 0, prompts
        self._prompt_of = torch.arange(prompts).repeat_interleave(n)
        self._mask = None
        if not bool(is_real.all()):
            lowest = torch.finfo(dtype).min
            self._mask = torch.zeros(prompts, 1, 1, length, dtype=dtype)
            self._mask.masked_fill_(~is_real[:, None, None], lowest)
        self._seat()

    def lay(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Keep a prompt's keys and values."""
        self._shared[layer, 0], self._shared[layer, 1] = key, value

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append, and attend to the prompt together with its other rows, then to the row's own."""
        now, after = self._used, self._used + 1
        rows, heads, _, width = query.shape
        keys, values = self._own[layer, :, :rows].unbind(0)
        keys[:, :, now:after] = key
        values[:, :, now:after] = value
        # Query heads of a group stand beside each other like queries: they read the same keys.
        groups = key.shape[1]
        asked = query.view(rows, groups, heads // groups, width)
        own, own_sum = _attention(asked, keys[:, :, :after], values[:, :, :after], None)
        seated = asked[self._seats].permute(0, 2, 1, 3, 4)  # B0 G m H/G D
        mask = self._mask
        prompt_keys, prompt_values = self._shared[layer].unbind(0)
        found, total = _attention(seated.flatten(2, 3), prompt_keys, prompt_values, mask)
        grid = seated.shape[:-1]
        found = found.view(*grid, width)[self._prompt_of, :, self._seat_of]
        total = total.view(grid)[self._prompt_of, :, self._seat_of]
        share = torch.sigmoid(total - own_sum)[..., None]  # of the prompt in the softmax
        return torch.lerp(own, found, share).view(rows, heads, 1, width)

    def advance(self) -> None:
        """Count the token."""
        self._used += 1

    def keep(self, rows: Sequence[int]) -> None:
        """Copy only the rows that change place; prompts stay where they are."""
        _move(self._own[:, :, :, :, : self._used], rows)
        self._prompt_of = self._prompt_of[torch.tensor(rows)]
        self._seat()

    def _seat(self) -> None:
        """Give each row a seat beside its siblings; seats left over repeat some row."""
        taken = [0] * self._prompts
        places: list[int] = []
        for prompt in self._prompt_of.tolist():
            places.append(taken[prompt])
            taken[prompt] += 1
        self._seat_of = torch.tensor(places, dtype=torch.long)
        self._seats = torch.zeros(self._prompts, max(taken, default=1) or 1, dtype=torch.long)
        self._seats[self._prompt_of, self._seat_of] = torch.arange(len(places))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return what queries find, and the logarithm of the sum that it was divided by, [B, G, m]."""
    found, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, attn_mask=mask
    )
    return found, total


def _move(known: Tensor, rows: Sequence[int]) -> None:
    moved = [(place, row) for place, row in enumerate(rows) if place != row]
    if moved:
        places, sources = (
            torch.tensor(side, device=known.device) for side in zip(*moved, strict=True)
        )
        known[:, :, places] = known[:, :, sources]
