"""Log-probabilities of given tokens, from hidden states picked out at the positions that matter.

Logits exist only for those positions and, past one chunk, only a chunk at a time: never [B, T, V]
in fp32.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LmHead = Callable[[Tensor], Tensor]
CHUNK_LOGITS = 2**23
"""Logits alive at once by default: 32 MiB in fp32."""


def of_tokens(
    hidden: Tensor,
    lm_head: LmHead,
    token_ids: Tensor,
    temperature: float = 1.0,
    chunk: int | None = None,
    *,
    with_entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return each token's log-probability in nats and fp32, and the entropy if asked.

    The temperature divides the logits before the softmax, so that the numbers are those of the
    distribution that was sampled from.

    Args:
        hidden: last hidden states at the positions *before* the tokens, [N, d].
        lm_head: maps hidden states to logits, [n, d] -> [n, V].
        token_ids: [N].
        temperature: of the sampler; applied here too.
        chunk: rows whose logits are held at once; by default as many as make `CHUNK_LOGITS`
            logits. With gradients, more than one chunk means that each is computed again in the
            backward pass instead of kept.
        with_entropy: also return the entropy of each distribution; no gradient flows through it.

    Returns:
        log-probabilities [N] and entropies [N] or None.

    Raises:
        ValueError: if the temperature is not positive, the chunk is not, or the lengths differ.
    """
    _refuse(hidden, token_ids, temperature, chunk)
    if hidden.shape[0] == 0:
        empty = hidden.new_zeros(0, dtype=torch.float32)
        return empty, (empty.clone() if with_entropy else None)
    rows = chunk or _rows_of_a_chunk(hidden, lm_head)
    keeps_graph = torch.is_grad_enabled() and hidden.shape[0] > rows
    parts: list[tuple[Tensor, Tensor | None]] = []
    for some_hidden, some_ids in zip(
        torch.split(hidden, rows), torch.split(token_ids, rows), strict=True
    ):
        arguments = (some_hidden, lm_head, some_ids, temperature, with_entropy)
        if keeps_graph:
            parts.append(checkpoint(_of_chunk, *arguments, use_reentrant=False))
        else:
            parts.append(_of_chunk(*arguments))
    entropies = [entropy for _, entropy in parts if entropy is not None]
    return torch.cat([logprob for logprob, _ in parts]), torch.cat(entropies) if entropies else None


def _of_chunk(
    hidden: Tensor, lm_head: LmHead, token_ids: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    logits = lm_head(hidden)  # [n, V]
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    log_total = logits.logsumexp(-1)  # [n]
    logprobs = logits.gather(-1, token_ids[:, None]).squeeze(-1) - log_total
    if not with_entropy:
        return logprobs, None
    with torch.no_grad():
        probabilities = (logits - log_total[:, None]).exp()
        entropy = log_total - (probabilities * logits).sum(-1)
    return logprobs, entropy


def _rows_of_a_chunk(hidden: Tensor, lm_head: LmHead) -> int:
    with torch.no_grad():
        vocabulary = lm_head(hidden[:1]).shape[-1]
    return max(1, CHUNK_LOGITS // vocabulary)


def _refuse(hidden: Tensor, token_ids: Tensor, temperature: float, chunk: int | None) -> None:
    if not temperature > 0.0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1 row, got {chunk}")
    if hidden.shape[0] != token_ids.shape[0]:
        raise ValueError(
            f"{hidden.shape[0]} hidden states for {token_ids.shape[0]} tokens; they must be as many"
        )
