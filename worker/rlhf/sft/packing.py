"""Micro-batches of demonstrations: several to a row where the model allows it, else padded."""

from collections.abc import Iterator, Sequence

from worker.rlhf.core import batches
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.model import models
from worker.rlhf.model.roles import Roles


def micro_batches(
    roles: Roles,
    demonstrations: Sequence[TokenizedDemonstration],
    *,
    row_tokens: int | None,
    micro_tokens: int,
) -> Iterator[Batch]:
    """Yield batches of at most `micro_tokens` tokens, in rows of `row_tokens` tokens.

    Rows are padded instead where `row_tokens` is None or the model's attention takes no mask per
    pair of tokens. A longer demonstration makes its row, or its batch, as long as itself.
    """
    if not demonstrations:  # the share of a process in a small batch
        return
    sequences = [(d.prompt_ids, d.response_ids) for d in demonstrations]
    if row_tokens is not None and batches.takes_any_mask(roles.causal):
        packed = batches.pack(sequences, roles.pad_id, row_tokens)
        yield from batches.split_rows(packed, micro_tokens)
    else:
        yield from batches.padded_by_tokens(sequences, roles.pad_id, micro_tokens)


def tokens_of(demonstration: TokenizedDemonstration) -> int:
    """Return the number of tokens of the prompt and the response."""
    return len(demonstration.prompt_ids) + len(demonstration.response_ids)


def refuse_beyond_context(demonstrations: Sequence[TokenizedDemonstration], roles: Roles) -> None:
    """Refuse demonstrations that are longer than the model's context.

    Raises:
        ValueError: naming the demonstration, its length and the limit.
    """
    limit = models.context_tokens(roles.causal)
    if limit is None:
        return
    for index, demonstration in enumerate(demonstrations):
        if tokens_of(demonstration) > limit:
            raise ValueError(
                f"demonstration {index} has {tokens_of(demonstration)} tokens, "
                f"the model's context {limit}"
            )
