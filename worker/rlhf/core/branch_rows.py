"""Where a prompt and its completions lie in a row that they share.

With it, attention computes what the mask allows and little else: a row of a prompt of 96 tokens and
four completions of 64 has 124,000 pairs of tokens, of which 37,000 are allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BranchRows:
    """Rows [B, T] that begin with a prompt each, and the tokens of their C completions.

    `at` has the flat index of each token of a completion, 0 where it has none. `mask` is added to
    the scores of a completion's tokens with its prompt and itself, 0 or -inf.
    """

    prompt: int  # tokens of the longest prompt, P
    is_prompt: Tensor  # B P
    prompt_of: Tensor  # C, the row
    at: Tensor  # C L
    is_real: Tensor  # C L
    mask: Tensor  # C 1 L P+L


def of(
    prompts: Sequence[int], completions: Sequence[Sequence[int]], width: int
) -> BranchRows | None:
    """Return the rows of prompts and completions of these lengths, or None if either is empty.

    Rows have `width` columns, and are padded on the right.
    """
    prompt = max(prompts, default=0)
    longest = max((length for lengths in completions for length in lengths), default=0)
    if not prompt or not longest:
        return None
    spans = [
        (row, start + sum(lengths[:number]), length)
        for row, (start, lengths) in enumerate(zip(prompts, completions, strict=True))
        for number, length in enumerate(lengths)
    ]
    rows, starts, counts = (torch.tensor(column) for column in zip(*spans, strict=True))
    columns = torch.arange(longest)
    is_real = columns < counts[:, None]
    at = (rows * width + starts)[:, None] + columns
    is_prompt = torch.arange(prompt) < torch.tensor(prompts)[:, None]
    is_earlier = torch.ones(longest, longest, dtype=torch.bool).tril()
    allowed = torch.cat(
        [
            is_prompt[rows][:, None].expand(-1, longest, -1),
            is_earlier.expand(len(spans), -1, -1),
        ],
        dim=-1,
    )
    mask = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))
    return BranchRows(prompt, is_prompt, rows, at * is_real, is_real, mask[:, None])
