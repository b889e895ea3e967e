"""Several completions of one prompt in one row, with the prompt encoded once.

Each completion attends to the prompt and to itself, and its positions continue from the end of the
prompt, so its hidden states are those of a separate sequence. This holds if tokens interact only
through attention and the model uses the given mask unchanged. Sliding windows, recurrent layers and
position biases based on the row index break it, mostly without an error: `probe` compares both
layouts on the loaded model, within its window and beyond, and `lay_out` uses separate sequences
where they differ. In an encoder–decoder model, the encoder computes the prompt once for all of its
completions, which are rows of the decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from transformers import PretrainedConfig

from worker.rlhf.core import batches, branch_rows, layout_probe
from worker.rlhf.core.batches import EncoderInput, PaddingSide
from worker.rlhf.core.branch_rows import BranchRows
from worker.rlhf.core.layout_probe import LayoutProbe

PROMPT_SEGMENT = 0
PADDING_SEGMENT = -1


@dataclass(frozen=True, slots=True)
class Branches:
    """A prompt and its completions, as token ids.

    `leads` counts the first tokens of each completion that belong to its prompt, or is empty.
    """

    prompt_ids: Sequence[int]
    completions: Sequence[Sequence[int]]
    leads: Sequence[int] = ()

    @property
    def sequences(self) -> list[tuple[Sequence[int], Sequence[int]]]:
        """The prompt and the response of each completion."""
        if not self.leads:
            return [(self.prompt_ids, ids) for ids in self.completions]
        return [
            ([*self.prompt_ids, *ids[:lead]], ids[lead:])
            for ids, lead in zip(self.completions, self.leads, strict=True)
        ]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of all its completions."""
        return len(self.prompt_ids) + sum(map(len, self.completions))


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows for one forward pass, and the end of each completion in them.

    `rows` and `columns` locate the last real token of each completion, in the order of the branches
    and of the completions within them, in either layout.
    """

    input_ids: Tensor  # B T
    position_ids: Tensor  # B T
    attention_mask: Tensor  # B 1 T T (may attend) if shared, B T (is real) if separate
    rows: Tensor  # N
    columns: Tensor  # N
    encoder: EncoderInput | None = None
    branches: BranchRows | None = None  # of shared rows that are padded on the right

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Where completions end, [B, T] bool, and the index of each among these positions, [N].

        Empty completions share the last position of their prompt.
        """
        where = torch.zeros_like(self.input_ids, dtype=torch.bool)
        where[self.rows, self.columns] = True
        indices = where.flatten().cumsum(0).view_as(where) - 1
        return where, indices[self.rows, self.columns]

    def to(self, device: torch.device) -> "Layout":
        """Return the same layout on a device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            rows=self.rows.to(device),
            columns=self.columns.to(device),
            encoder=None if self.encoder is None else self.encoder.to(device),
        )


@dataclass(frozen=True, slots=True)
class Probe(LayoutProbe):
    """Whether shared prefixes are exact on a loaded model.

    In an encoder–decoder model, `decoder_prefix` is what precedes every response in the decoder.
    """

    decoder_prefix: tuple[int, ...] = ()

    def allows(self, branches: Sequence[Branches]) -> bool:
        """Return whether these branches may share their prefix."""
        longest = max(
            len(branch.prompt_ids) + max(map(len, branch.completions), default=0)
            for branch in branches
        )
        return self.allows_tokens(longest)


class Encoder(Protocol):
    """Computes the last hidden states of rows."""

    def __call__(
        self, input_ids: Tensor, *, attention_mask: Tensor, position_ids: Tensor
    ) -> Tensor:
        """Return hidden states [B, T, d]."""


class Build(Protocol):
    """Lays out branches in rows: `shared` or `separate`."""

    def __call__(
        self,
        branches: Sequence[Branches],
        *,
        pad_id: int,
        pad_side: PaddingSide = "right",
        width: int = 0,
    ) -> Layout:
        """Return the rows, padded to the longest or to `width`."""


def lay_out(
    branches: Sequence[Branches], probe: Probe, *, pad_id: int, pad_side: PaddingSide = "right"
) -> Layout:
    """Return shared rows if the probe allows them, else separate ones.

    For an encoder–decoder model, return a decoder row per completion.
    """
    if probe.decoder_prefix:
        return beside_encoder(branches, probe.decoder_prefix, pad_id=pad_id)
    build: Build = shared if probe.allows(branches) else separate
    return build(branches, pad_id=pad_id, pad_side=pad_side)


def shared(
    branches: Sequence[Branches], *, pad_id: int, pad_side: PaddingSide = "right", width: int = 0
) -> Layout:
    """Return one row per prompt: its tokens, then those of each completion."""
    rows = [_row(branch) for branch in branches]
    width = max(width, *(len(row.ids) for row in rows))
    shape = (len(rows), width)
    input_ids = torch.full(shape, pad_id)
    position_ids = torch.zeros(shape, dtype=torch.long)
    segments = torch.full(shape, PADDING_SEGMENT)
    ends: list[tuple[int, int]] = []
    for number, row in enumerate(rows):
        start = width - len(row.ids) if pad_side == "left" else 0
        columns = slice(start, start + len(row.ids))
        input_ids[number, columns] = torch.tensor(row.ids)
        position_ids[number, columns] = torch.tensor(row.positions)
        segments[number, columns] = torch.tensor(row.segments)
        ends += [(number, start + end) for end in row.ends]
    layout = _layout(input_ids, position_ids, may_attend(segments), ends)
    if pad_side == "left":
        return layout
    lengths = [list(map(len, branch.completions)) for branch in branches]
    parts = branch_rows.of([len(branch.prompt_ids) for branch in branches], lengths, width)
    return replace(layout, branches=parts)


def separate(
    branches: Sequence[Branches], *, pad_id: int, pad_side: PaddingSide = "right", width: int = 0
) -> Layout:
    """Return one row per completion, with the prompt repeated before each."""
    single = [
        Branches(branch.prompt_ids, [ids]) for branch in branches for ids in branch.completions
    ]
    layout = shared(single, pad_id=pad_id, pad_side=pad_side, width=width)
    lengths = torch.tensor([branch.tokens for branch in single])
    order = torch.arange(layout.input_ids.shape[1])
    if pad_side == "left":
        order = order.flip(0)
    mask = (order < lengths[:, None]).long()
    return replace(layout, attention_mask=mask, branches=None)


def beside_encoder(branches: Sequence[Branches], prefix: Sequence[int], *, pad_id: int) -> Layout:
    """Return a decoder row per completion after `prefix`, and a row of the encoder per prompt."""
    pairs = [pair for branch in branches for pair in branch.sequences]
    rows = separate([Branches(prefix, [ids]) for _, ids in pairs], pad_id=pad_id)
    prompts = [prompt for prompt, _ in pairs]
    return replace(rows, encoder=batches.encoder_input(prompts, pad_id))


def may_attend(segments: Tensor) -> Tensor:
    """Return the mask [B, 1, T, T], True where the query (row) may attend to the key (column).

    A padding token attends to itself, since a softmax over nothing is NaN.

    Args:
        segments: 0 for the prompt, 1… for its completions, -1 for padding, [B, T].
    """
    length = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    is_before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    is_visible = (key == query) | ((key == PROMPT_SEGMENT) & (query != PADDING_SEGMENT))
    is_visible &= key != PADDING_SEGMENT
    is_self = torch.eye(length, dtype=torch.bool, device=segments.device)
    return (is_visible & is_before | is_self)[:, None]


@torch.no_grad()
def probe(encode: Encoder, config: PretrainedConfig, *, pad_id: int, seed: int = 0) -> Probe:
    """Compare shared and separate layouts on the loaded model, within and beyond its window.

    The result is recorded with the checkpoint.
    """
    sample = _probe_branches(config.vocab_size, seed)

    def compare() -> tuple[Tensor, Tensor]:
        in_shared, in_separate = (
            _end_states(encode, build(sample, pad_id=pad_id)) for build in (shared, separate)
        )
        return in_shared, in_separate

    result = layout_probe.probe(compare, config, "shared")
    return Probe(result.is_exact, result.window, result.why)


@dataclass(frozen=True, slots=True)
class _Row:
    """One prompt with its completions, flattened."""

    ids: list[int]
    positions: list[int]
    segments: list[int]
    ends: list[int]


def _row(branches: Branches) -> _Row:
    start = len(branches.prompt_ids)
    if not start and not all(branches.completions):
        raise ValueError("an empty prompt with an empty completion has no token to score")
    row = _Row(list(branches.prompt_ids), list(range(start)), [PROMPT_SEGMENT] * start, [])
    for segment, ids in enumerate(branches.completions, start=1):
        row.ids.extend(ids)
        row.positions.extend(range(start, start + len(ids)))
        row.segments.extend([segment] * len(ids))
        row.ends.append(len(row.ids) - 1 if ids else start - 1)
    return row


def _layout(
    input_ids: Tensor, position_ids: Tensor, mask: Tensor, ends: Sequence[tuple[int, int]]
) -> Layout:
    end_positions = torch.tensor(ends, dtype=torch.long).reshape(-1, 2)
    return Layout(input_ids, position_ids, mask, end_positions[:, 0], end_positions[:, 1])


def _probe_branches(vocabulary: int, seed: int) -> list[Branches]:
    """Return random branches that are several times longer than the lowered window."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(vocabulary, (length,), generator=generator).tolist()

    return [Branches(ids(9), [ids(7), ids(12), ids(10)]), Branches(ids(5), [ids(11), ids(6)])]


def _end_states(encode: Encoder, layout: Layout) -> Tensor:
    hidden = encode(
        layout.input_ids, attention_mask=layout.attention_mask, position_ids=layout.position_ids
    )
    return hidden[layout.rows.to(hidden.device), layout.columns.to(hidden.device)]
