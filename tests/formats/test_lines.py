import gzip
import json
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.formats import jsonl
from app.formats.lines import Limits, RawRow, row
from app.formats.raw_rows import raw_rows
from app.formats.records import Rejected

SHORT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
SMALL = Limits(line_bytes=20, text_bytes=10, depth=3, gzip_ratio=50)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b)), st.integers(1, 30))
def test_lines_do_not_depend_on_how_a_file_is_cut(parts: list[bytes], size: int) -> None:
    data = b"x\n" + b"\n".join(parts)
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    found = list(raw_rows(cut(data, size), SMALL))
    assert found == list(raw_rows([data], SMALL))
    with suppress(UnicodeDecodeError):
        data.decode()  # what is not UTF-8 may be another encoding
        assert found == [RawRow(n, part) for n, part in enumerate(expected, 1)]
    assert list(raw_rows(cut(gzip.compress(data), size), SMALL)) == found


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_overlong_line_is_reported_and_the_rest_read(size: int) -> None:
    data = b"a\n" + b"x" * 50 + b"\nb\n" + b"y" * 20 + b"\n" + b"z" * 21
    first, long, second, most, end = raw_rows(cut(data, size), SMALL)
    assert (first, second, most) == (RawRow(1, b"a"), RawRow(3, b"b"), RawRow(4, b"y" * 20))
    assert long == Rejected(2, "the line is longer than 20 bytes", b"x" * 20)
    assert end == Rejected(5, "the line is longer than 20 bytes", b"z" * 20)


@given(st.lists(st.dictionaries(SHORT, SHORT, max_size=2), max_size=5))
def test_array_gives_the_same_rows_as_lines(rows: list[dict[str, str]]) -> None:
    data = json.dumps(rows, indent=1).encode()
    for size in (1, 3, len(data)):
        found = list(raw_rows(cut(data, size)))
        assert [row(item.data) for item in found if isinstance(item, RawRow)] == rows
        assert len(found) == len(rows)


def test_array_element_is_numbered_by_its_first_line() -> None:
    found = list(raw_rows([b'[\n {"a":\n 1},\n\n {"b": "]"}\n]\n']))
    assert found == [RawRow(2, b'{"a":\n 1}'), RawRow(5, b'{"b": "]"}')]


def test_overlong_array_element_is_reported_and_the_rest_read() -> None:
    long, short = raw_rows([b'[{"a": "' + b"x" * 50 + b'"}, {"b": 1}]'], SMALL)
    assert isinstance(long, Rejected)
    assert long.reason == "the element is longer than 20 bytes"
    assert short == RawRow(1, b'{"b": 1}')


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'[{"a": 1}, {"b', "the JSON array does not end"),
        (b'[{"a": 1}] {"b": 2}', "something follows the end of the JSON array"),
    ],
)
def test_broken_array_keeps_what_was_read(data: bytes, reason: str) -> None:
    first, last = raw_rows([data])
    assert first == RawRow(1, b'{"a": 1}')
    assert isinstance(last, Rejected)
    assert last.reason.startswith(reason)


def test_gzip_bomb_is_stopped() -> None:
    found = list(raw_rows([gzip.compress(b"\n" * 10_000_000)], SMALL))
    assert isinstance(found[-1], Rejected)
    assert "expands more than 50 times" in found[-1].reason


def test_well_packed_short_file_is_no_bomb() -> None:
    limits = Limits(line_bytes=100_000, gzip_ratio=2)
    assert list(raw_rows([gzip.compress(b"x" * 90_000)], limits)) == [RawRow(1, b"x" * 90_000)]


def test_damaged_gzip_says_so_after_what_could_be_read() -> None:
    packed = gzip.compress(b"a\nb\n" * 50)
    *_, cut_off = raw_rows([packed[:-10]])
    assert isinstance(cut_off, Rejected)
    assert "is truncated" in cut_off.reason
    broken = packed[:12] + b"\xff\xff\xff" + packed[15:]
    *_, damaged = raw_rows([broken])
    assert isinstance(damaged, Rejected)
    assert "damaged" in damaged.reason


def test_gzip_of_several_members_is_read_through() -> None:
    data = gzip.compress(b"a\n") + gzip.compress(b"b\n")
    assert list(raw_rows(cut(data, 5))) == [RawRow(1, b"a"), RawRow(2, b"b")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            b'{"a": "\xff"}',
            "byte 8 is not UTF-8: save the file as UTF-8 (in a spreadsheet, as “CSV UTF-8”)",
        ),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "a number is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number has too many digits"),
        (b'{"a": [[[1]]]}', "nested deeper than 3"),
        (b'{"a": ' + b"[" * 200_000, "nested deeper than 3"),
        (b'{"a": "12345678901"}', "a text has 11 bytes; the limit is 10"),
        (b'{"12345678901": 1}', "a text has 11 bytes; the limit is 10"),
        (b'{"a": "\\u0000"}', "a text contains a NUL character"),
        (b'{"a": "\\ud800"}', "a text contains half of a surrogate pair"),
        (b'{"a": 1, "a": 2}', "the field 'a' appears twice"),
        (b'["a"]', "the line is not a JSON object"),
        (b'{"a": }', "not JSON: Expecting value at character 7"),
        (b'{"a": 1} {"b": 2}', "not JSON: Extra data at character 10"),
        (b'{"a": 1}\x0b', "not JSON: Extra data at character 9"),
    ],
)
def test_row_that_breaks_a_limit_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        row(data, SMALL)
    assert str(caught.value) == reason


@pytest.mark.parametrize("around", [(b"", b"\r"), (b" \t", b" \t\n\r"), (b"\xef\xbb\xbf ", b" ")])
def test_blanks_around_a_row_are_no_part_of_it(around: tuple[bytes, bytes]) -> None:
    assert row(around[0] + b'{"a": 1}' + around[1], SMALL) == {"a": 1}


def test_depth_at_the_limit_is_read() -> None:
    assert row(b'{"a": [[1]]}', SMALL) == {"a": [[1]]}


def test_byte_order_mark_is_no_part_of_the_first_row() -> None:
    (line,) = raw_rows([b'\xef\xbb\xbf{"a": 1}'])
    assert isinstance(line, RawRow)
    assert row(line.data) == {"a": 1}


@given(st.dictionaries(st.text(max_size=3), st.text()))
def test_encoded_row_is_one_line_for_every_program(values: dict[str, str]) -> None:
    data = jsonl.encode(values)
    assert len(data.decode().splitlines()) == 1
    assert json.loads(data) == values


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        jsonl.encode({"a": float("nan")})


def test_packed_bytes_are_the_same_every_time_and_hold_no_date() -> None:
    rows = [b"a\n" * 100, b"b\n"]
    packed = b"".join(jsonl.gzipped(rows))
    assert packed == b"".join(jsonl.gzipped([b"".join(rows)]))
    assert packed[4:8] == b"\0\0\0\0"
    assert zlib.decompress(packed, 31) == b"".join(rows)
