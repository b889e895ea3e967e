"""Reading ahead changes when rows are read, and nothing else."""

import threading
from collections.abc import Iterator

import pytest

from app.errors import Invalid
from app.services.datasets.read_ahead import ReadAhead


def rows(count: int, threads: list[str] | None = None) -> Iterator[int]:
    for number in range(count):
        if threads is not None:
            threads.append(threading.current_thread().name)
        yield number


@pytest.mark.parametrize("reads_ahead", [False, True])
def test_every_row_comes_once_and_in_order(reads_ahead: bool) -> None:
    batches = []
    with ReadAhead(rows(10), list) as reader:
        while batch := reader.take(4):
            if reads_ahead:
                reader.start(4)
            batches.append(batch)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_batch_of_long_rows_ends_sooner() -> None:
    lengths = iter([1, 2, 9, 1, 1, 1, 1, 30, 30, 1])
    batches = []
    with ReadAhead(lengths, list, length=lambda row: row, most=10) as reader:
        while batch := reader.take(4):
            batches.append(batch)
    assert batches == [[1, 2, 9], [1, 1, 1, 1], [30], [30], [1]]


def test_the_next_batch_is_read_and_prepared_in_a_thread_while_one_is_stored() -> None:
    threads: list[str] = []
    prepared = threading.Event()

    def prepare(batch: list[int]) -> list[int]:
        if batch[0] == 2:
            prepared.set()
        return batch

    with ReadAhead(rows(4, threads), prepare) as reader:
        assert reader.take(2) == [0, 1]
        reader.start(2)
        assert prepared.wait(timeout=30)
        assert reader.take(2) == [2, 3]
    assert threads[0] == threading.current_thread().name
    assert threads[2].startswith("read-ahead")


def test_an_error_is_raised_where_the_row_would_have_come() -> None:
    def damaged() -> Iterator[int]:
        yield from rows(3)
        raise Invalid("the rest is damaged")

    with ReadAhead(damaged(), list) as reader:
        assert reader.take(3) == [0, 1, 2]
        reader.start(3)
        with pytest.raises(Invalid, match="damaged"):
            reader.take(3)


def test_stopping_early_ends_the_thread() -> None:
    with ReadAhead(rows(10), list) as reader:
        reader.take(2)
        reader.start(2)
    assert not any(thread.name.startswith("read-ahead") for thread in threading.enumerate())
