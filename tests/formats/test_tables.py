"""Tables: every format can be read from one, whatever its delimiter, encoding and spelling."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import formats
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats.records import (
    ComparisonRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Rejected,
    Turn,
    UnpairedRecord,
)

Q = (Turn("user", "q"),)
XY = (CompletionText("x"), CompletionText("y"))
CELLS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'=+-@"), max_size=8
).filter(str.strip)


def only(data: bytes) -> object:
    (record,) = formats.read([data])
    return record


@pytest.mark.parametrize(
    ("name", "header", "cells", "record"),
    [
        ("trl", "prompt,chosen,rejected", "q,x,y", PreferenceRecord(Q, XY, Ranking((1, 2)))),
        (
            "trl",
            "Prompt,Chosen,Rejected,margin",
            "q,x,y,0.5",
            PreferenceRecord(Q, XY, Ranking((1, 2)), margin=0.5),
        ),
        (
            "vertex-rlhf",
            "input_text,candidate_0,candidate_1,choice",
            "q,x,y,1",
            PreferenceRecord(Q, XY, Ranking((2, 1))),
        ),
        (
            "shp",
            "history,human_ref_A,human_ref_B,labels",
            "q,x,y,0",
            PreferenceRecord(Q, XY, Ranking((2, 1))),
        ),
        ("unpaired", "prompt,completion,label", "q,x,TRUE", UnpairedRecord(Q, "x", True)),
        ("unpaired", "prompt,completion,label", "q,x,0", UnpairedRecord(Q, "x", False)),
        ("dolly", "instruction,context,response", "q,,x", DemonstrationRecord(Q, "x")),
        ("dialogsum", "id,dialogue,summary", "1,q,x", DemonstrationRecord(Q, "x", "1")),
        ("csv", "question,answer", "q,x", DemonstrationRecord(Q, "x")),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_format_is_read_from_a_table(
    name: str, header: str, cells: str, record: object, delimiter: str
) -> None:
    data = f"{header}\n{cells}\n".replace(",", delimiter).encode()
    assert formats.detect(data.splitlines()) == name
    assert only(data) == record


def test_ratings_are_read_from_a_table() -> None:
    record = only(b"prompt,response,helpfulness,correctness\nq,x,0,3\n")
    assert isinstance(record, ComparisonRecord)
    assert record.votes[0].ratings == {"helpfulness": (0,), "correctness": (3,)}


def test_battles_are_read_from_a_table() -> None:
    out, winners = io.StringIO(), ("winner_model_a", "winner_model_b", "winner_tie")
    csv.writer(out).writerows(
        [
            ["id", "model_a", "model_b", "prompt", "response_a", "response_b", *winners],
            [1, "m1", "m2", '["q"]', '["x"]', '["y"]', 1, 0, 0],
        ]
    )
    record = only(out.getvalue().encode())
    candidates = (CompletionText("x", "m1"), CompletionText("y", "m2"))
    assert record == PreferenceRecord(Q, candidates, Ranking((1, 2)), source_id="1")


def test_texts_that_look_like_numbers_stay_texts() -> None:
    record = only(b"id,prompt,chosen,rejected\n7,2+2?,4,5\n")
    assert isinstance(record, PreferenceRecord)
    assert [candidate.text for candidate in record.candidates] == ["4", "5"]
    assert record.source_id == "7"


def test_decimal_comma_stays_text_and_is_named_where_a_number_is_needed() -> None:
    record = only(b"prompt;share\nq;0,5\n")
    assert record == PromptRecord(Q, meta={"share": "0,5"})
    rejected = only(b"prompt;chosen;rejected;margin\nq;x;y;0,5\n")
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "'margin' must be a number, not '0,5'"


def test_delimiter_is_told_by_the_columns_and_not_by_what_is_frequent() -> None:
    record = only(b"prompt;notes, remarks, and so on\nq;n\n")
    assert record == PromptRecord(Q, meta={"notes, remarks, and so on": "n"})
    assert only(b"sep=;\r\nprompt;topic\r\nq;t\r\n") == PromptRecord(Q, meta={"topic": "t"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_encoding_is_told_by_its_mark(encoding: str, size: int) -> None:
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    for text in ("prompt,topic\nGrüße 𝕏,t\n", '{"prompt": "Grüße 𝕏", "topic": "t"}\n'):
        data = (mark + text).encode(encoding)
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        (record,) = formats.read(chunks)
        assert record == PromptRecord((Turn("user", "Grüße 𝕏"),), meta={"topic": "t"})


def test_damaged_utf_16_keeps_what_was_read() -> None:
    data = "prompt\nq\n".encode("utf-16") + b"\x00\xd8a\x00"
    first, last = formats.read([data])
    assert first == PromptRecord(Q)
    assert isinstance(last, Rejected)
    assert "the UTF-16-LE text is damaged" in last.reason


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4), st.sampled_from(",;\t"))
def test_cells_come_in_as_they_were_written(
    rows: list[tuple[str, str, str]], delimiter: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["prompt", "response", "topic"])
    writer.writerows(rows)
    found = list(formats.read([out.getvalue().encode()]))
    assert found == [
        DemonstrationRecord((Turn("user", prompt),), response, meta={"topic": topic})
        for prompt, response, topic in rows
    ]


@pytest.mark.parametrize(
    ("header", "name", "why"),
    [
        ("a,b", None, "the header needs a column `prompt` or a mapping; it has a, b"),
        (
            "model_a,model_b,conversation_a,conversation_b",
            None,
            "for LMArena battles it lacks 'winner'",
        ),
        (
            "prompt,chosen",
            "trl",
            "the header needs a column `rejected` or a mapping; it has prompt",
        ),
        (
            "prompt",
            "trl",
            "the header needs the columns `chosen`, `rejected` or a mapping; it has prompt",
        ),
        ("prompt,topic,topic", None, "the header names the column 'topic' twice"),
        ("sentence", None, "the header needs a column `prompt` or a mapping"),
    ],
)
def test_header_that_lacks_a_column_is_told_which(header: str, name: str | None, why: str) -> None:
    with pytest.raises(Invalid) as caught:
        list(formats.read([f"{header}\n1,2\n".encode()], name))
    assert why in str(caught.value)


def test_lines_of_json_after_a_bad_first_line_are_no_table() -> None:
    rejected, record = formats.read([b'nonsense\n{"prompt": "q"}\n'])
    assert isinstance(rejected, Rejected)
    assert record == PromptRecord(Q)


def test_column_without_a_name_is_a_note() -> None:
    assert only(b",prompt\n0,q\n") == PromptRecord(Q, meta={"column 1": "0"})


def test_rejected_row_can_be_put_right_and_read_again() -> None:
    (rejected,) = formats.read([b"prompt,chosen,rejected,votes\nq,x,y,3\n"])
    assert isinstance(rejected, Rejected)
    assert rejected.line == 2
    assert json.loads(rejected.raw) == {"prompt": "q", "chosen": "x", "rejected": "y", "votes": 3}


def test_nearly_fitting_rows_are_told_what_they_lack() -> None:
    with pytest.raises(Invalid) as caught:
        formats.read([b'{"chosen": "x", "topic": "t"}'])
    assert str(caught.value) == (
        "no known format has these fields: chosen, topic; a row needs 'prompt', or a mapping that "
        "names the field that holds it; for TRL preferences it lacks 'rejected'"
    )
    with pytest.raises(Invalid, match="no line could be read as JSON"):
        formats.read([b"{oops\n{again\n"])
