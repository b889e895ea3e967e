"""Prompts and responses as a loaded model reads them: in one row, or in encoder and decoder."""

from collections.abc import Sequence

from torch import Tensor

from worker.rlhf.core import batches
from worker.rlhf.core.batches import Batch, Sequences
from worker.rlhf.model.roles import Roles


def padded(roles: Roles, sequences: Sequences, sources: Sequence[int] | None = None) -> Batch:
    """Return a batch with a row per sequence, padded on the right.

    Raises:
        ValueError: if there is no sequence or a prompt is empty.
    """
    prefix = roles.loaded.decoder_prefix
    if prefix:
        return batches.beside_encoder(sequences, prefix, roles.pad_id, sources=sources)
    return batches.pad(sequences, roles.pad_id, sources=sources)


def before_response(roles: Roles, batch: Batch) -> Tensor:
    """Return the hidden states of the active role before each response token, [N, d].

    Where padding is on the right, no real token sees it and positions are column indices. On a GPU
    the mask is left out then: the library would wait for the device up to three times to find out
    what it masks, and its attention is faster without.
    """
    is_plain = batch.is_right_padded and batch.encoder is None and roles.device.type != "cpu"
    return roles.hidden(
        batch.input_ids,
        None if is_plain else batch.attention_mask,
        None if is_plain else batch.position_ids,
        batch.before_response_at,
        encoder=batch.encoder,
    )
