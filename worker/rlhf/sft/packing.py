"""Micro-batches of demonstrations: several to a row where the model allows it, else padded."""

from collections.abc import Iterator, Sequence

from worker.rlhf.core import batches
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.model import model_inputs, models
from worker.rlhf.model.roles import Roles


def micro_batches(
    roles: Roles,
    demonstrations: Sequence[TokenizedDemonstration],
    *,
    row_tokens: int | None,
    micro_tokens: int,
) -> Iterator[Batch]:
    """Yield batches of at most `micro_tokens` tokens, in rows of `row_tokens` tokens.

    Rows are padded instead where `row_tokens` is None, the model's attention takes no mask per pair
    of tokens, or an encoder reads the prompts. A longer demonstration makes its row, or its batch,
    as long as itself.
    """
    if not demonstrations:  # the share of a process in a small batch
        return
    sequences = [(d.prompt_ids, d.response_ids) for d in demonstrations]
    can_pack = batches.takes_any_mask(roles.causal) and not roles.loaded.is_encoder_decoder
    if row_tokens is not None and can_pack:
        packed = batches.pack(sequences, roles.pad_id, row_tokens)
        yield from batches.split_rows(packed, micro_tokens)
    else:
        for group in batches.by_tokens([tokens_of(d) for d in demonstrations], micro_tokens):
            yield model_inputs.padded(roles, [sequences[index] for index in group], group)


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
