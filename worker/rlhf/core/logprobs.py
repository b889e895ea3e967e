"""Log-probabilities of given tokens from the hidden states before them.

Logits exist only for these positions and at most one chunk at a time: never [B, T, V] in fp32. A
token's log-probability depends only on its own hidden state, so the gradient through a frozen head
is computed in the forward pass while the logits exist, as a vector per token, and scaled in the
backward pass.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worker.rlhf.core import memory_room

LmHead = Callable[[Tensor], Tensor]
CHUNK_LOGITS = 2**22
"""Logits held at once on a CPU: 16 MiB in fp32, and as much for each of their few copies."""
MOST_CHUNK_LOGITS = 2**28
BYTES_PER_LOGIT = 16  # raw, in fp32, log-softmax, probabilities, gradient
SHARE_OF_FREE = 1 / 8


def of_tokens(
    hidden: Tensor,
    lm_head: LmHead,
    token_ids: Tensor,
    temperature: float = 1.0,
    chunk: int | None = None,
    *,
    with_entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return each token's log-probability in nats and fp32, and the entropy if requested.

    The temperature divides the logits before the softmax, so that the results are those of the
    distribution that was sampled from.

    Args:
        hidden: last hidden states at the positions *before* the tokens, [N, d].
        lm_head: maps hidden states to logits, [n, d] -> [n, V].
        token_ids: [N].
        temperature: of the sampler; applied here too.
        chunk: rows whose logits are held at once; by default what `chunk_logits` allows. If the
            head is trained and there is more than one chunk, each is recomputed in the backward
            pass instead of kept.
        with_entropy: also return the entropy of each distribution; it carries no gradient.

    Returns:
        log-probabilities [N] and entropies [N] or None.

    Raises:
        ValueError: if the temperature or the chunk is not positive, or the lengths differ.
    """
    _refuse(hidden, token_ids, temperature, chunk)
    if hidden.shape[0] == 0:
        empty = hidden.new_zeros(0, dtype=torch.float32)
        return empty, (empty.clone() if with_entropy else None)
    vocabulary, is_trained = _properties_of(lm_head, hidden)
    rows = chunk or max(1, chunk_logits(hidden.device) // vocabulary)
    is_graph_wanted = torch.is_grad_enabled() and (hidden.requires_grad or is_trained)
    parts: list[tuple[Tensor, Tensor | None]] = []
    for chunk_hidden, chunk_ids in zip(
        torch.split(hidden, rows), torch.split(token_ids, rows), strict=True
    ):
        arguments = (chunk_hidden, lm_head, chunk_ids, temperature, with_entropy)
        if is_graph_wanted and not is_trained:
            parts.append(_OfFrozenHead.apply(*arguments))  # type: ignore[no-untyped-call]
        elif is_graph_wanted and hidden.shape[0] > rows:
            parts.append(checkpoint(_of_chunk, *arguments, use_reentrant=False))
        else:
            parts.append(_of_chunk(*arguments))
    entropies = [entropy for _, entropy in parts if entropy is not None]
    return torch.cat([logprob for logprob, _ in parts]), torch.cat(entropies) if entropies else None


def chunk_logits(device: torch.device) -> int:
    """Return how many logits are held at once: on a GPU, as an eighth of its free memory allows."""
    free = memory_room.free_bytes(device)
    if free is None:
        return CHUNK_LOGITS
    return max(CHUNK_LOGITS, min(MOST_CHUNK_LOGITS, int(free * SHARE_OF_FREE) // BYTES_PER_LOGIT))


class _OfFrozenHead(torch.autograd.Function):
    """A chunk's log-probabilities and entropies; keeps the gradient of each token as a vector."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        lm_head: LmHead,
        token_ids: Tensor,
        temperature: float,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:
        with torch.enable_grad():
            leaf = hidden.detach().requires_grad_()
            logits = lm_head(leaf)  # n V
        all_logprobs = _scaled(logits.detach(), temperature).log_softmax(-1)
        logprobs = all_logprobs.gather(-1, token_ids[:, None]).squeeze(-1)
        probabilities = all_logprobs.exp()
        entropy = _entropy(probabilities, all_logprobs) if with_entropy else None
        # d log p(y) / d logits is 1 at y, minus the probability everywhere.
        grad_logits = probabilities.neg_()
        grad_logits.scatter_add_(-1, token_ids[:, None], torch.ones_like(logprobs)[:, None])
        grad_logits = grad_logits.div_(temperature).to(logits.dtype)
        (grad_hidden,) = torch.autograd.grad(logits, leaf, grad_logits)
        ctx.save_for_backward(grad_hidden)
        if entropy is not None:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad_hidden,) = ctx.saved_tensors
        scaled = grad_hidden * gradients[0][:, None]
        return scaled.to(grad_hidden.dtype), None, None, None, None


def _of_chunk(
    hidden: Tensor, lm_head: LmHead, token_ids: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    all_logprobs = _scaled(lm_head(hidden), temperature).log_softmax(-1)  # n V
    logprobs = all_logprobs.gather(-1, token_ids[:, None]).squeeze(-1)
    if not with_entropy:
        return logprobs, None
    constant = all_logprobs.detach()
    return logprobs, _entropy(constant.exp(), constant)


def _scaled(raw: Tensor, temperature: float) -> Tensor:
    """Return logits divided by the temperature, at least in fp32."""
    logits = raw if raw.dtype == torch.float64 else raw.float()
    return logits if temperature == 1.0 else logits / temperature


def _entropy(probabilities: Tensor, logs: Tensor) -> Tensor:
    # As one product per row, so that no further tensor of the logits' size is allocated.
    with torch.autocast(logs.device.type, enabled=False):
        return -torch.bmm(probabilities[:, None], logs[:, :, None]).flatten()


@torch.enable_grad()
def _properties_of(lm_head: LmHead, hidden: Tensor) -> tuple[int, bool]:
    """Return the vocabulary size, and whether the head itself requires gradients."""
    logits = lm_head(hidden[:1].detach())
    return logits.shape[-1], logits.requires_grad


def _refuse(hidden: Tensor, token_ids: Tensor, temperature: float, chunk: int | None) -> None:
    if not temperature > 0.0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1 row, got {chunk}")
    if hidden.shape[0] != token_ids.shape[0]:
        raise ValueError(
            f"{hidden.shape[0]} hidden states for {token_ids.shape[0]} tokens; numbers must match"
        )
