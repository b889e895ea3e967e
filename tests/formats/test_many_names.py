"""Files that bring very many names are read, or refused, in time linear in their length."""

import io
import time

import pyarrow
import pyarrow.parquet
import pytest

from app.errors import Invalid
from app.formats import registry
from app.formats.lines import Limits
from app.formats.records import Rejected

MANY = 40_000
NAMES = [f"{n:x}" for n in range(MANY)]
FIELDS = ",".join(f'"{name}":0' for name in NAMES)


def parquet_of(names: list[str]) -> bytes:
    out = io.BytesIO()
    columns = [pyarrow.array([1])] * len(names)
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, names=names), out)
    return out.getvalue()


def rows_of(data: bytes) -> list[object]:
    try:
        return [outcome for _, outcome in registry.outcomes([data])]
    except Invalid as error:
        return [Rejected(1, str(error))]


@pytest.mark.parametrize(
    ("before", "data", "reason"),
    [
        (
            b'{"prompt": "q"}\n',
            f'{{"prompt":"a",{FIELDS},"{NAMES[-1]}":1}}\n',
            f"the field '{NAMES[-1]}' appears twice",
        ),
        (
            b"",
            f"prompt,{','.join([*NAMES, NAMES[-1]])}\na\n",
            f"the header names the column '{NAMES[-1]}' twice",
        ),
        (
            b"",
            f"prompt,{','.join(NAMES)}\na\n",
            f"the row has 1 cells, but the header has {MANY + 1}",
        ),
    ],
)
def test_names_without_number_are_compared_once(before: bytes, data: str, reason: str) -> None:
    started = time.process_time()
    *_, bad = rows_of(before + data.encode())
    assert isinstance(bad, Rejected)
    assert reason in bad.reason
    assert time.process_time() - started < 4


def test_columns_of_parquet_are_compared_once() -> None:
    data = parquet_of(["prompt", *NAMES[:3000], NAMES[0]])
    (bad,) = rows_of(data)
    assert f"names the column '{NAMES[0]}' twice" in str(bad)


def test_a_row_of_a_table_may_be_as_long_as_a_line_and_no_longer() -> None:
    """An open row takes line after line, and each cell more memory than it has letters."""
    limits = Limits(line_bytes=1000)
    good = 'prompt\n"' + "a\n" * 400 + '"\n'
    assert not any(
        isinstance(row, Rejected) for _, row in registry.outcomes([good.encode()], None, limits)
    )
    endless = "prompt\nq\n" + '"a\n",' * 1000
    _, *bad = [outcome for _, outcome in registry.outcomes([endless.encode()], None, limits)]
    assert len(bad) >= 3
    assert all(isinstance(row, Rejected) for row in bad)
    assert "the row is longer than 1000 bytes" in str(bad[0])
