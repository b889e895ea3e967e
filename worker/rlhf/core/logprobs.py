"""Log-probabilities of given tokens, from hidden states picked out at the positions that matter.

Logits exist only for those positions and, past one chunk, only a chunk at a time: never [B, T, V]
in fp32. A token's log-probability depends on its own hidden state alone, so the gradient through a
frozen head is taken while the logits are there, a vector per token, and scaled going back.
"""

from collections.abc import Callable
from typing import Any

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
            logits. Where the head is trained, more than one chunk means that each is computed
            again in the backward pass instead of kept.
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
    vocabulary, is_trained = _look_at(lm_head, hidden)
    rows = chunk or max(1, CHUNK_LOGITS // vocabulary)
    is_graph_wanted = torch.is_grad_enabled() and (hidden.requires_grad or is_trained)
    parts: list[tuple[Tensor, Tensor | None]] = []
    for some_hidden, some_ids in zip(
        torch.split(hidden, rows), torch.split(token_ids, rows), strict=True
    ):
        arguments = (some_hidden, lm_head, some_ids, temperature, with_entropy)
        if is_graph_wanted and not is_trained:
            parts.append(_OfFrozenHead.apply(*arguments))  # type: ignore[no-untyped-call]
        elif is_graph_wanted and hidden.shape[0] > rows:
            parts.append(checkpoint(_of_chunk, *arguments, use_reentrant=False))
        else:
            parts.append(_of_chunk(*arguments))
    entropies = [entropy for _, entropy in parts if entropy is not None]
    return torch.cat([logprob for logprob, _ in parts]), torch.cat(entropies) if entropies else None


class _OfFrozenHead(torch.autograd.Function):
    """A chunk's log-probabilities and entropies, with the gradient of each kept as a vector."""

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
            piece = hidden.detach().requires_grad_()
            raw = lm_head(piece)  # n V
        every = _scaled(raw.detach(), temperature).log_softmax(-1)
        found = every.gather(-1, token_ids[:, None]).squeeze(-1)
        probabilities = every.exp()
        entropy = _entropy(probabilities, every) if with_entropy else None
        # d log p(y) / d logits is 1 at y, less the probability everywhere.
        of_logits = probabilities.neg_()
        of_logits.scatter_add_(-1, token_ids[:, None], torch.ones_like(found)[:, None])
        of_logits = of_logits.div_(temperature).to(raw.dtype)
        (slope,) = torch.autograd.grad(raw, piece, of_logits)
        ctx.save_for_backward(slope)
        if entropy is not None:
            ctx.mark_non_differentiable(entropy)
        return found, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (slope * gradients[0][:, None]).to(slope.dtype), None, None, None, None


def _of_chunk(
    hidden: Tensor, lm_head: LmHead, token_ids: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    every = _scaled(lm_head(hidden), temperature).log_softmax(-1)  # n V
    found = every.gather(-1, token_ids[:, None]).squeeze(-1)
    return found, _entropy(every.detach().exp(), every.detach()) if with_entropy else None


def _scaled(raw: Tensor, temperature: float) -> Tensor:
    """Return logits at a temperature, in fp32 at least."""
    logits = raw if raw.dtype == torch.float64 else raw.float()
    return logits if temperature == 1.0 else logits / temperature


def _entropy(probabilities: Tensor, logs: Tensor) -> Tensor:
    # As a product per row nothing of the size of the logits is written down.
    with torch.autocast(logs.device.type, enabled=False):
        return -torch.bmm(probabilities[:, None], logs[:, :, None]).flatten()


@torch.enable_grad()
def _look_at(lm_head: LmHead, hidden: Tensor) -> tuple[int, bool]:
    """Return the size of the vocabulary, and whether the head itself wants gradients."""
    logits = lm_head(hidden[:1].detach())
    return logits.shape[-1], logits.requires_grad


def _refuse(hidden: Tensor, token_ids: Tensor, temperature: float, chunk: int | None) -> None:
    if not temperature > 0.0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1 row, got {chunk}")
    if hidden.shape[0] != token_ids.shape[0]:
        raise ValueError(
            f"{hidden.shape[0]} hidden states for {token_ids.shape[0]} tokens; they must be as many"
        )
