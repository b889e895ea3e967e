"""Text is read in the encoding that it is in, or that a person names; nothing is guessed twice."""

import io
from collections.abc import Iterator

import pytest

from app import formats
from app.errors import Invalid
from app.formats import charsets, registry
from app.formats.records import DemonstrationRecord, Rejected, Turn

TABLE = "prompt;response\r\nWie heißt du?;Ich heiße Jörg – „Grüß Gott“ für 5 €\r\n"
PLAIN = "prompt;response\r\n" + "why?;because\r\n" * 20_000
RUSSIAN = "prompt;response\r\nпочему это так;потому что так\r\n"
CHINESE = "prompt;response\r\n为什么会这样呢;因为就是这样的\r\n"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def opened(data: bytes, encoding: str) -> bytes:
    with charsets.in_encoding(io.BytesIO(data), encoding) as file:
        return file.read()


def demonstration(outcomes: object) -> DemonstrationRecord:
    assert isinstance(outcomes, DemonstrationRecord)
    return outcomes


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("before", ["", PLAIN.removeprefix("prompt;response\r\n")])
def test_a_spreadsheet_of_western_europe_is_read_and_named(size: int, before: str) -> None:
    if before and size == 1:
        size = 997
    header, row = TABLE.split("\r\n", 1)
    data = f"{header}\r\n{before}{row}".encode("cp1252")
    notes: list[str] = []
    *_, last = (item for _, item in registry.outcomes(pieces(data, size), notes=notes))
    assert demonstration(last).messages == (Turn("user", "Wie heißt du?"),)
    assert demonstration(last).response == "Ich heiße Jörg – „Grüß Gott“ für 5 €"
    assert notes == [charsets.GUESSED]


def test_the_preview_names_the_encoding() -> None:
    (part,) = formats.preview([TABLE.encode("cp1252")])
    assert part.said == (charsets.GUESSED,)
    assert charsets.GUESSED in part.remarks
    assert formats.preview([TABLE.encode()])[0].said == ()


@pytest.mark.parametrize(
    "data",
    [
        TABLE.encode() + b"gr\xfc\xdfe;x\r\n",  # UTF-8 with a damaged line
        b"prompt;response\r\n\xff;\xfe\r\n",
        RUSSIAN.encode("cp1251"),
        CHINESE.encode("gb18030"),
        b"prompt;response\r\n\xe4\x00;x\r\n",
    ],
)
def test_what_does_not_look_western_or_is_utf8_elsewhere_is_not_guessed(data: bytes) -> None:
    notes: list[str] = []
    outcomes = [item for _, item in registry.outcomes([data], "csv", notes=notes)]
    assert notes == []
    rejected = [item.reason for item in outcomes if isinstance(item, Rejected)]
    assert len(rejected) == 1
    assert charsets.REMEDY in rejected[0]


def test_a_byte_without_a_meaning_rejects_its_line_only() -> None:
    data = TABLE.encode("cp1252") + b"caf\xe9 \x81;x\r\ncaf\xe9;y\r\n"
    outcomes = list(formats.read([data]))
    assert [isinstance(item, Rejected) for item in outcomes] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(TABLE, "windows-1252"), (RUSSIAN, "windows-1251"), (CHINESE, "gb18030"), (TABLE, "utf-8")],
)
def test_an_encoding_that_a_person_names_is_used(text: str, encoding: str) -> None:
    notes: list[str] = []
    with charsets.in_encoding(io.BytesIO(text.encode(encoding)), encoding) as file:
        ((_, outcome),) = registry.outcomes([file.read()], notes=notes)
    prompt, response = text.split("\r\n")[1].split(";")
    assert demonstration(outcome).messages == (Turn("user", prompt),)
    assert demonstration(outcome).response == response
    assert notes == []


def test_utf8_that_is_named_is_not_guessed() -> None:
    with pytest.raises(Invalid, match=r"the file is not UTF-8: .* near byte 25; choose another"):
        opened(TABLE.encode("cp1252"), "utf-8")


def test_an_encoding_is_for_plain_text_and_must_be_known() -> None:
    with pytest.raises(Invalid, match="there is no encoding 'klingon'; there are utf-8, windows"):
        opened(b"", "klingon")
    with pytest.raises(Invalid, match="for plain text only, not for gzip, zip or Parquet"):
        opened(b"\x1f\x8b", "utf-8")
