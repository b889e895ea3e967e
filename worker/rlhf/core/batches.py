"""Batches of token ids, padded or packed, with their masks and position ids.

Masks come from lengths, never from ids, since a padding id may also be a real token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.rlhf.core.attention import BOOLEAN_MASKS

PaddingSide = Literal["left", "right"]
Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Pairs of prompt ids and response ids."""

MASKABLE_ATTENTION = BOOLEAN_MASKS | {"eager"}
"""Attention implementations that take a mask per pair of tokens, so that rows can be packed."""


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """Distinct prompts as the input of an encoder, and the prompt that each decoder row reads."""

    input_ids: Tensor  # [S, P] int64
    is_real: Tensor  # [S, P] bool
    prompt_of: Tensor  # [B] int64

    def to(self, device: torch.device | str) -> "EncoderInput":
        """Return the input on another device."""
        return EncoderInput(
            self.input_ids.to(device), self.is_real.to(device), self.prompt_of.to(device)
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids [B, T] with their masks and positions.

    `attention_mask` is [B, T] for padded rows, or [B, 1, T, T] where rows hold several sequences.
    `sources` lists the sequences in each row, as indices into what the batch was made from. With
    `encoder` the rows are a decoder's, without the prompts, which the encoder reads. `response_at`
    is the flat index of each response token, found before the batch is moved to a device, where
    finding it would wait for all that the device has been given to do.
    """

    input_ids: Tensor  # [B, T] int64
    is_real: Tensor  # [B, T] bool
    is_response: Tensor  # [B, T] bool
    position_ids: Tensor  # [B, T] int64
    attention_mask: Tensor  # [B, T] or [B, 1, T, T] bool
    sources: tuple[tuple[int, ...], ...]
    encoder: EncoderInput | None = None
    response_at: Tensor = field(default_factory=lambda: torch.empty(0))  # [N] int64
    is_right_padded: bool = False  # one sequence in each row, padded on the right

    def __post_init__(self) -> None:
        """Find the response tokens."""
        if not self.response_at.dtype.is_floating_point:
            return
        object.__setattr__(self, "response_at", self.is_response.flatten().nonzero().squeeze(1))

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        return Batch(
            self.input_ids.to(device),
            self.is_real.to(device),
            self.is_response.to(device),
            self.position_ids.to(device),
            self.attention_mask.to(device),
            self.sources,
            None if self.encoder is None else self.encoder.to(device),
            self.response_at.to(device),
            self.is_right_padded,
        )

    @property
    def is_before_response(self) -> Tensor:
        """Positions whose hidden state predicts a response token, [B, T]."""
        return before(self.is_response)

    @property
    def before_response_at(self) -> Tensor:
        """Flat index of each position whose hidden state predicts a response token, [N]."""
        return self.response_at - 1

    @property
    def response_tokens(self) -> int:
        """Number of response tokens, N."""
        return self.response_at.numel()

    @property
    def targets(self) -> Tensor:
        """The response tokens, row by row, [N], in the order of the positions before them."""
        return self.input_ids.flatten().index_select(0, self.response_at)

    @property
    def last_real(self) -> Tensor:
        """Position of each row's last real token, [B]; meaningful for padded rows."""
        columns = torch.arange(self.is_real.shape[1], device=self.is_real.device)
        return (columns * self.is_real).amax(-1)


def before(is_response: Tensor) -> Tensor:
    """Shift a mask of tokens to the positions that predict them, [B, T]."""
    shifted = torch.zeros_like(is_response)
    shifted[:, :-1] = is_response[:, 1:]
    return shifted


def flat_indices(where: Tensor) -> Tensor:
    """Return the flat indices of a mask of positions, [B, T] -> [N]; indices are returned as is."""
    return where.flatten().nonzero().squeeze(1) if where.dtype == torch.bool else where


def pad(
    sequences: Sequences,
    pad_id: int,
    *,
    side: PaddingSide = "right",
    width: int | None = None,
    sources: Sequence[int] | None = None,
) -> Batch:
    """Place each prompt and its response in a row of its own, padded to the longest or to `width`.

    Raises:
        ValueError: if there is no sequence, a prompt is empty, or one is longer than `width`.
    """
    lengths = _lengths(sequences)
    width = max(lengths) if width is None else width
    if max(lengths) > width:
        raise ValueError(f"a sequence of {max(lengths)} tokens does not fit a width of {width}")
    input_ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    is_real = torch.zeros(len(sequences), width, dtype=torch.bool)
    is_response = torch.zeros_like(is_real)
    for row, (prompt, response) in enumerate(sequences):
        start = 0 if side == "right" else width - lengths[row]
        _place(input_ids[row], is_response[row], start, prompt, response)
        is_real[row, start : start + lengths[row]] = True
    indices = range(len(sequences)) if sources is None else sources
    return Batch(
        input_ids,
        is_real,
        is_response,
        position_ids(is_real),
        is_real,
        tuple((index,) for index in indices),
        is_right_padded=side == "right",
    )


def beside_encoder(
    sequences: Sequences,
    prefix: Sequence[int],
    pad_id: int,
    *,
    sources: Sequence[int] | None = None,
) -> Batch:
    """Place each response in a decoder row after `prefix`, and each distinct prompt in the encoder.

    Raises:
        ValueError: if there is no sequence, or a prompt or the prefix is empty.
    """
    rows = pad([(prefix, response) for _, response in sequences], pad_id, sources=sources)
    return replace(rows, encoder=encoder_input([prompt for prompt, _ in sequences], pad_id))


def encoder_input(prompts: Sequence[Sequence[int]], pad_id: int) -> EncoderInput:
    """Return the encoder's input for decoder rows with these prompts; equal prompts share a row.

    Raises:
        ValueError: if there is no prompt or one is empty.
    """
    row_of = {ids: row for row, ids in enumerate(dict.fromkeys(map(tuple, prompts)))}
    padded = pad([(ids, ()) for ids in row_of], pad_id)
    prompt_of = torch.tensor([row_of[tuple(prompt)] for prompt in prompts])
    return EncoderInput(padded.input_ids, padded.is_real, prompt_of)


def position_ids(is_real: Tensor) -> Tensor:
    """Count real tokens from 0 in each row, whatever the padding side, [B, T]."""
    return (is_real.long().cumsum(-1) - 1).clamp(min=0)


def pack(
    sequences: Sequences, pad_id: int, width: int, sources: Sequence[int] | None = None
) -> Batch:
    """Place several sequences in a row; none attends to another.

    Rows are filled by first-fit decreasing. Each sequence attends only to itself and its positions
    restart at 0, so the result is that of separate rows. A sequence longer than `width` makes the
    rows as wide as itself.

    Raises:
        ValueError: if there is no sequence or a prompt is empty.
    """
    lengths = _lengths(sequences)
    rows = _first_fit(lengths, max(width, *lengths))
    used = max(sum(lengths[index] for index in row) for row in rows)
    input_ids = torch.full((len(rows), used), pad_id, dtype=torch.long)
    is_response = torch.zeros(len(rows), used, dtype=torch.bool)
    positions = torch.zeros(len(rows), used, dtype=torch.long)
    owner = torch.full((len(rows), used), -1, dtype=torch.long)
    for row, members in enumerate(rows):
        start = 0
        for index in members:
            _place(input_ids[row], is_response[row], start, *sequences[index])
            positions[row, start : start + lengths[index]] = torch.arange(lengths[index])
            owner[row, start : start + lengths[index]] = index
            start += lengths[index]
    indices = range(len(sequences)) if sources is None else sources
    return Batch(
        input_ids,
        owner >= 0,
        is_response,
        positions,
        within_owner(owner),
        tuple(tuple(indices[index] for index in row) for row in rows),
    )


def within_owner(owner: Tensor) -> Tensor:
    """Return the causal mask within sequences, [B, T] -> [B, 1, T, T].

    `owner` is the sequence of each token. Padding (owner -1) attends to padding: a query with
    nothing to attend to would be NaN.
    """
    same = owner[:, :, None] == owner[:, None, :]
    return (same & _is_earlier(owner.shape[1], owner.device))[:, None]


def for_attention(is_allowed: Tensor, model: PreTrainedModel) -> Tensor:
    """Convert a mask [B, 1, T, S] to the attention's form: boolean for SDPA, additive for eager.

    Raises:
        ValueError: if the implementation takes no mask per pair of tokens.
    """
    implementation = model.config._attn_implementation
    if not takes_any_mask(model):
        raise ValueError(f"attention {implementation!r} cannot take a mask per pair of tokens")
    if implementation in BOOLEAN_MASKS:
        return is_allowed
    additive = torch.zeros_like(is_allowed, dtype=torch.get_default_dtype())
    return additive.masked_fill(~is_allowed, torch.finfo(additive.dtype).min).to(model.dtype)


def takes_any_mask(model: PreTrainedModel) -> bool:
    """Return whether the attention takes a mask per pair of tokens, so that rows can be packed."""
    return model.config._attn_implementation in MASKABLE_ATTENTION


def split_rows(batch: Batch, budget: int) -> Iterator[Batch]:
    """Yield groups of rows with at most `budget` tokens; a longer row is a group of its own."""
    rows = max(1, budget // batch.input_ids.shape[1])
    for start in range(0, batch.input_ids.shape[0], rows):
        group = slice(start, start + rows)
        yield Batch(
            batch.input_ids[group],
            batch.is_real[group],
            batch.is_response[group],
            batch.position_ids[group],
            batch.attention_mask[group],
            batch.sources[group],
        )


def by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group indices, shortest first, so that rows times widest row stays within `budget` tokens.

    A single sequence longer than the budget makes a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if groups and (len(groups[-1]) + 1) * lengths[index] <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _place(
    ids: Tensor, is_response: Tensor, start: int, prompt: Sequence[int], response: Sequence[int]
) -> None:
    middle, end = start + len(prompt), start + len(prompt) + len(response)
    ids[start:end] = torch.tensor([*prompt, *response], dtype=torch.long)
    is_response[middle:end] = True


def _first_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, free in enumerate(room) if free >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(width)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def _is_earlier(width: int, device: torch.device) -> Tensor:
    return torch.ones(width, width, dtype=torch.bool, device=device).tril()


def _lengths(sequences: Sequences) -> list[int]:
    if not sequences:
        raise ValueError("a batch needs at least one sequence")
    for index, (prompt, _) in enumerate(sequences):
        if not prompt:
            raise ValueError(
                f"sequence {index}: the prompt has no token to predict the response from"
            )
    return [len(prompt) + len(response) for prompt, response in sequences]
