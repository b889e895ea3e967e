import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches

LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12)


def sequences(lengths: list[tuple[int, int]]) -> batches.Sequences:
    flat = tiny.token_ids(*(length for pair in lengths for length in pair))
    return list(zip(flat[::2], flat[1::2], strict=True))


@given(LENGTHS, st.sampled_from(["left", "right"]))
def test_padded_rows_give_every_sequence_back(
    lengths: list[tuple[int, int]], side: batches.PaddingSide
) -> None:
    placed = sequences(lengths)
    batch = batches.pad(placed, pad_id=0, side=side)
    for row, (prompt, response) in enumerate(placed):
        real = batch.is_real[row]
        assert batch.input_ids[row][real].tolist() == [*prompt, *response]
        assert batch.input_ids[row][batch.is_response[row]].tolist() == [*response]
        assert batch.position_ids[row][real].tolist() == list(range(len(prompt) + len(response)))
        last = batch.last_real[row]
        assert batch.input_ids[row, last] == [*prompt, *response][-1]
        assert not batch.is_real[row, last + 1 :].any()


@given(LENGTHS, st.integers(1, 40))
def test_packed_rows_hold_every_sequence_once_and_restart(
    lengths: list[tuple[int, int]], width: int
) -> None:
    placed = sequences(lengths)
    batch = batches.pack(placed, pad_id=0, width=width)
    assert sorted(index for row in batch.sources for index in row) == list(range(len(lengths)))
    assert batch.input_ids.shape[1] <= max(width, *(p + r for p, r in lengths))
    for row, members in enumerate(batch.sources):
        start = 0
        for index in members:
            prompt, response = placed[index]
            end = start + len(prompt) + len(response)
            assert batch.input_ids[row, start:end].tolist() == [*prompt, *response]
            assert batch.position_ids[row, start:end].tolist() == list(range(end - start))
            allowed = batch.attention_mask[row, 0, start:end]
            assert torch.equal(
                allowed[:, start:end], torch.ones(end - start, end - start).tril() > 0
            )
            assert allowed.sum() == (end - start) * (end - start + 1) // 2
            start = end
        assert not batch.is_real[row, start:].any()
    assert batch.attention_mask.any(-1).all()


@given(LENGTHS)
def test_targets_follow_the_positions_before_them(lengths: list[tuple[int, int]]) -> None:
    batch = batches.pack(sequences(lengths), pad_id=0, width=16)
    rows, places = batch.is_before_response.nonzero(as_tuple=True)
    assert torch.equal(batch.input_ids[rows, places + 1], batch.targets)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 120))
def test_token_budget_groups_all_and_keeps_to_the_budget(lengths: list[int], budget: int) -> None:
    groups = batches.by_tokens(lengths, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget


@given(LENGTHS, st.integers(1, 60))
def test_split_rows_are_the_batch_in_pieces(lengths: list[tuple[int, int]], budget: int) -> None:
    whole = batches.pack(sequences(lengths), pad_id=0, width=12)
    pieces = list(batches.split_rows(whole, budget))
    assert torch.equal(torch.cat([piece.input_ids for piece in pieces]), whole.input_ids)
    assert torch.equal(torch.cat([piece.attention_mask for piece in pieces]), whole.attention_mask)
    assert tuple(row for piece in pieces for row in piece.sources) == whole.sources
    for piece in pieces:
        assert piece.input_ids.shape[0] == 1 or piece.input_ids.numel() <= budget


def test_padding_id_as_a_real_token_counts() -> None:
    batch = batches.pad([((5, 0), (0, 0)), ((5,), (6,))], pad_id=0)
    assert batch.is_real.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.last_real.tolist() == [3, 1]


def test_a_sequence_wider_than_the_width_is_refused() -> None:
    with pytest.raises(ValueError, match="5 tokens does not fit a width of 4"):
        batches.pad([((1, 2, 3), (4, 5))], pad_id=0, width=4)


@pytest.mark.parametrize("make", [batches.pad, lambda s, pad_id: batches.pack(s, pad_id, 8)])
def test_empty_prompts_and_batches_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="sequence 1: the prompt has no token"):
        make([((1,), (2,)), ((), (3,))], pad_id=0)
    with pytest.raises(ValueError, match="at least one sequence"):
        make([], pad_id=0)
