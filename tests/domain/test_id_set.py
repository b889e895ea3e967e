"""Sets of ids in blocks."""

import hypothesis.strategies as st
from hypothesis import given

from app.domain.id_set import BLOCK, IdSet, ids_in

IDS = st.lists(st.integers(0, 5 * BLOCK) | st.integers(10**12, 10**12 + 5))


@given(IDS)
def test_it_has_what_was_added_once_and_in_order(ids: list[int]) -> None:
    kept = IdSet(ids)
    assert list(kept) == sorted(set(ids))
    assert len(kept) == len(set(ids))


@given(IDS, IDS)
def test_blocks_carry_it_over(first: list[int], second: list[int]) -> None:
    copy = IdSet(second)
    for number, members in IdSet(first).blocks():
        assert len(members) == BLOCK
        copy.merge(number, members)
    assert list(copy) == sorted({*first, *second})


def test_the_edges_of_a_block_belong_to_it() -> None:
    edges = [0, BLOCK - 1, BLOCK, 2 * BLOCK - 1]
    numbers = {number: list(ids_in(number, members)) for number, members in IdSet(edges).blocks()}
    assert numbers == {0: edges[:2], 1: edges[2:]}
