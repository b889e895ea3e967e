"""Micro-batches of demonstrations: several to a row where the model allows it, else padded.

`probe` finds out on the loaded model whether it does. Demonstrations that shared rows on a model
with recurrent layers, or beyond an attention window, would see one another.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from worker.rlhf.core import batches, layout_probe
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.layout_probe import LayoutProbe
from worker.rlhf.model import model_inputs, models
from worker.rlhf.model.roles import Roles

PROBE_LENGTHS = ((7, 9), (5, 8), (6, 12), (3, 11))
"""Prompt and response tokens; packed, each sequence lies several lowered windows into its row."""
NOT_PACKED = LayoutProbe(False, None, "packing is turned off")
ENCODED = "an encoder reads the prompts"


@torch.no_grad()
def probe(roles: Roles, *, seed: int = 0) -> LayoutProbe:
    """Compare packed and separate rows on the loaded model, within and beyond its window."""
    if roles.loaded.is_encoder_decoder:
        return LayoutProbe(False, None, ENCODED)
    if not batches.takes_any_mask(roles.causal):
        implementation = roles.causal.config._attn_implementation
        why = f"attention {implementation!r} takes no mask per pair of tokens"
        return LayoutProbe(False, None, why)
    config = roles.causal.config.get_text_config()
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(config.vocab_size, (length,), generator=generator).tolist()

    sequences = [(ids(prompt), ids(response)) for prompt, response in PROBE_LENGTHS]
    width = sum(map(sum, PROBE_LENGTHS))

    def compare() -> tuple[Tensor, Tensor]:
        packed = _states(roles, batches.pack(sequences, roles.pad_id, width))
        alone = [batches.pad([sequence], roles.pad_id) for sequence in sequences]
        order = packed[1]
        return packed[0], torch.cat([_states(roles, alone[index])[0] for index in order])

    return layout_probe.probe(compare, config, "packed")


def micro_batches(
    roles: Roles,
    demonstrations: Sequence[TokenizedDemonstration],
    rows: LayoutProbe,
    *,
    row_tokens: int,
    micro_tokens: int,
) -> Iterator[Batch]:
    """Yield batches of at most `micro_tokens` tokens, in rows of `row_tokens` tokens.

    Rows are padded instead where `rows` does not allow several demonstrations in one. A longer
    demonstration makes its row, or its batch, as long as itself.
    """
    if not demonstrations:  # the share of a process in a small batch
        return
    sequences = [(d.prompt_ids, d.response_ids) for d in demonstrations]
    if rows.allows_tokens(max(map(tokens_of, demonstrations))):
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


def _states(roles: Roles, batch: Batch) -> tuple[Tensor, tuple[int, ...]]:
    """Return the hidden states before response tokens, and the sequences of the only row."""
    batch = batch.to(roles.device)
    hidden = roles.hidden(
        batch.input_ids, batch.attention_mask, batch.position_ids, batch.is_before_response
    )
    return hidden, batch.sources[0]
