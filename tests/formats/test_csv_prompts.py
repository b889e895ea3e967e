import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import formats
from app.errors import Invalid
from app.formats import csv_prompts
from app.formats.lines import Limits
from app.formats.records import DemonstrationRecord, PromptRecord, Rejected, Turn


def test_columns_are_found_by_name() -> None:
    data = b"\xef\xbb\xbfid,Prompt,topic,response\r\n1,Hello,x,\r\n2,Bye,,So long\r\n"
    assert formats.detect(data.split(b"\n")) == "csv"
    assert list(formats.read([data])) == [
        PromptRecord((Turn("user", "Hello"),), "1", {"topic": "x"}),
        DemonstrationRecord((Turn("user", "Bye"),), "So long", "2"),
    ]


def test_system_column_comes_first() -> None:
    (record,) = formats.read([b"system,prompt\nBe brief,Hello\n"])
    assert record == PromptRecord((Turn("system", "Be brief"), Turn("user", "Hello")))


def test_bad_rows_are_reported_by_their_first_line_and_the_rest_read() -> None:
    data = b'prompt,id\n"two\nlines",1\nx,2,3\n\xff,4\n,5\ngood,6\n'
    found = list(formats.read([data]))
    assert [r.source_id for r in found if isinstance(r, PromptRecord)] == ["1", "6"]
    rejected = [(r.line, r.reason) for r in found if isinstance(r, Rejected)]
    assert rejected == [
        (4, "the row has 3 cells, but the header has 2"),
        (5, "byte 1 is not UTF-8: save the file as UTF-8 (in a spreadsheet, as “CSV UTF-8”)"),
        (6, "the prompt is empty"),
    ]


def test_cell_over_the_limit_is_refused() -> None:
    (record,) = formats.read([b"prompt\n" + b"x" * 11 + b"\n"], limits=Limits(text_bytes=10))
    assert isinstance(record, Rejected)
    assert "the limit is 10" in record.reason


def test_open_quote_is_reported() -> None:
    (record,) = formats.read([b'prompt\n"never closed\n'])
    assert isinstance(record, Rejected)
    assert record.line == 2
    assert record.reason.startswith("not CSV")


def test_header_without_a_prompt_is_refused() -> None:
    with pytest.raises(
        Invalid, match="the header needs a column `prompt` or a mapping; it has a, b"
    ):
        list(formats.read([b"a,b\n1,2\n"], "csv"))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(str.strip))
def test_no_cell_is_run_as_a_formula(text: str) -> None:
    record = PromptRecord((Turn("user", text),))
    data = b"".join(csv_prompts.write([record])).decode()
    _, (_, cell, _) = csv.reader(io.StringIO(data, newline=""))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
