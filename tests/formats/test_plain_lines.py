import pytest

from app import formats
from app.errors import Invalid
from app.formats.lines import Limits
from app.formats.records import PromptRecord, Rejected, Turn


def _texts(data: bytes, name: str | None = None) -> list[str]:
    records = list(formats.read([data], name))
    assert all(isinstance(record, PromptRecord) for record in records)
    return [record.messages[0].content for record in records if isinstance(record, PromptRecord)]


@pytest.mark.parametrize(
    ("data", "prompts"),
    [
        (b"Where is the owl?\nWhat is a fox?\n", ["Where is the owl?", "What is a fox?"]),
        (b"\xef\xbb\xbfTell me, please, why.\r\n\r\nWho?\r\n", ["Tell me, please, why.", "Who?"]),
        (b"Compare cats; be brief.\nSing.\nDance; now; twice.", None),
    ],
)
def test_lines_of_prose_are_prompts(data: bytes, prompts: list[str] | None) -> None:
    assert formats.detect(data.split(b"\n")) == "lines"
    if prompts is None:
        prompts = data.decode().split("\n")
    assert _texts(data) == prompts


@pytest.mark.parametrize(
    "data",
    [
        b"Die Frage,Der Text\nWer kam?,Ich\n",  # as many cells in every line
        b"Die Frage;besser\nWer kam?\n",  # a judgment by its name
        b"Die Frage,Antwort A\nWer, sag, kam?\n",  # a response by its name
        b"Die Frage\tDer Text\nWer kam?\n",
        b'"Die Frage",Der Text\nWer kam?\n',
        b"hello\nWho came?\n",  # one word is a header
        b"just a sentence",
    ],
)
def test_what_may_be_a_table_is_not_read_as_prompts(data: bytes) -> None:
    with pytest.raises(Invalid, match="one per line, choose the format 'lines'"):
        formats.detect(data.split(b"\n"))


def test_a_table_with_a_known_column_stays_one() -> None:
    assert formats.detect([b"prompt,my notes", b"Who, really, came?"]) == "csv"


def test_a_single_line_is_read_where_the_format_is_named() -> None:
    assert _texts(b"hello\n", "lines") == ["hello"]
    assert _texts(b"prompt,chosen\n", "lines") == ["prompt,chosen"]


def test_lines_that_are_no_prompts_are_reported_and_the_rest_read() -> None:
    data = b'Who came?\n{"prompt": "x", "label": "bad"}\n\xff\n{braces}\n' + b"x" * 41 + b"\n"
    found = list(formats.read([data], "lines", Limits(text_bytes=40)))
    assert [(r.line, r.reason.split(":")[0]) for r in found if isinstance(r, Rejected)] == [
        (2, "the line is JSON"),
        (3, "byte 1 is not UTF-8"),
        (5, "a text has 41 bytes; the limit is 40"),
    ]
    assert [r.messages for r in found if isinstance(r, PromptRecord)] == [
        (Turn("user", "Who came?"),),
        (Turn("user", "{braces}"),),
    ]


def test_a_mapping_does_not_fit_lines() -> None:
    with pytest.raises(Invalid):
        list(formats.read([b"Who came?\n"], "lines", mapping={"prompt": "question"}))
