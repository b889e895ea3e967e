"""Parquet files and zip archives: read as a stream within limits, what cannot be read is named."""

import gzip
import io
import json
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import formats
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import member_names, parquet, registry
from app.formats.lines import Limits, RawRow, row
from app.formats.raw_rows import raw_rows
from app.formats.records import (
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    Turn,
)

Q = (Turn("user", "q"),)
TURN = {"role": "user", "content": "q"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


def parquet_file(rows: list[dict[str, Any]], **options: Any) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out, **options)
    return out.getvalue()


def zip_file(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def rejects(outcomes: list[Record | Rejected]) -> list[tuple[int, str]]:
    return [(item.line, item.reason) for item in outcomes if isinstance(item, Rejected)]


def test_lists_and_structs_of_parquet_are_lists_and_objects() -> None:
    answers = [[{"role": "assistant", "content": text}] for text in ("x", "y")]
    data = parquet_file([{"prompt": [TURN], "chosen": answers[0], "rejected": answers[1]}])
    candidates = (CompletionText("x"), CompletionText("y"))
    assert list(formats.read([data])) == [PreferenceRecord(Q, candidates, Ranking((1, 2)))]
    assert registry.detect([i.data for i in raw_rows([data]) if isinstance(i, RawRow)]) == "trl"


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": TEXTS,
                "number": st.none() | st.integers(-(2**31), 2**31),
                "truth": st.booleans(),
                "list": st.lists(TEXTS, max_size=2),
                "struct": st.fixed_dictionaries({"a": TEXTS}),
            }
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 3),
    st.integers(1, 5000),
)
def test_parquet_gives_the_rows_that_were_written(
    rows: list[dict[str, Any]], group: int, size: int
) -> None:
    data = parquet_file(rows, row_group_size=group)
    found = list(raw_rows([data[at : at + size] for at in range(0, len(data), size)]))
    assert [row(item.data) for item in found if isinstance(item, RawRow)] == rows
    assert [item.number for item in found if isinstance(item, RawRow)] == [*range(1, len(rows) + 1)]


def test_what_json_has_no_type_for_is_text_or_a_number() -> None:
    values = {"prompt": b"q", "day": date(2026, 1, 2), "share": Decimal("0.5"), "raw": b"\xff"}
    (record,) = formats.read([parquet_file([values])])
    assert record == PromptRecord(Q, meta={"day": "2026-01-02", "share": 0.5, "raw": "/w=="})


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_parquet_rows_are_held_to_the_limits(compression: str) -> None:
    rows = [{"prompt": "q"}, {"prompt": "x" * 40}, {"prompt": "z"}]
    limits = Limits(line_bytes=30)
    found = list(formats.read([parquet_file(rows, compression=compression)], limits=limits))
    assert rejects(found) == [(2, "the row is longer than 30 bytes")]
    assert len(found) == 3


def test_parquet_that_grows_too_much_is_stopped() -> None:
    data = parquet_file([{"prompt": "q" * 900}] * 5000)
    found = list(formats.read([data], limits=Limits(line_bytes=1000, gzip_ratio=10)))
    assert "grow more than 10 times" in rejects(found)[-1][1]
    assert len(found) < 5000


def test_one_value_of_parquet_that_grows_too_much_is_never_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = parquet_file([{"prompt": "q" * 2**22}], compression="zstd", use_dictionary=False)
    monkeypatch.delattr(pyarrow.parquet.ParquetFile, "iter_batches")
    with pytest.raises(Invalid, match="grow more than 200 times"):
        formats.read([data])


@pytest.mark.parametrize("kind", [pyarrow.timestamp("us"), pyarrow.date32()])
def test_a_time_that_no_calendar_has_is_named(kind: pyarrow.DataType) -> None:
    far = 2**62 if pyarrow.types.is_timestamp(kind) else 2**30
    table = pyarrow.table({"prompt": ["q"], "at": pyarrow.array([far], kind)})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    with pytest.raises(Invalid, match="the Parquet data are damaged"):
        formats.read([out.getvalue()])


def test_parquet_that_cannot_be_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    data = parquet_file([{"prompt": "q"}])
    with pytest.raises(Invalid, match="the Parquet data are damaged"):
        formats.read([data[:-12]])
    with pytest.raises(Invalid, match="the file is larger than 10 bytes"):
        formats.read([data], limits=Limits(archive_bytes=10))

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(parquet, "import_module", missing)
    with pytest.raises(Invalid, match="reading Parquet needs the package pyarrow"):
        formats.read([data])


def test_files_of_an_archive_are_read_each_by_its_own_format() -> None:
    data = zip_file(
        {
            "train/a.jsonl": b'{"prompt": "q"}\n{"prompt": ""}\n',
            "b.csv": b"question;answer\nq;a\n",
            "c.parquet": parquet_file([{"prompt": "q", "chosen": "x", "rejected": "y"}]),
            "d.json.gz": gzip.compress(b'[{"prompt": "z"}]'),
            "README.md": b"# A data set\n\nText.\n",
            "__MACOSX/a": b"junk",
            "train/.DS_Store": b"junk",
            "folder/": b"",
        }
    )
    found = list(formats.read([data]))
    kinds = [type(item).__name__ for item in found if not isinstance(item, Rejected)]
    assert kinds == ["PromptRecord", "DemonstrationRecord", "PreferenceRecord", "PromptRecord"]
    assert rejects(found) == [(2, "train/a.jsonl: turn 1 of the prompt is empty")]
    notes: list[str] = []
    assert len(list(registry.outcomes([data], "zip", notes=notes))) == len(found)
    assert notes[:2] == [
        "3 files of the archive skipped, as the names say: README.md, __MACOSX/a, train/.DS_Store.",
        member_names.SOURCE_REMARK,
    ]
    assert [note[:24] for note in notes[2:]] == ["train/a.jsonl says train"]
    assert formats.preview([data])[0].said == tuple(notes)


def test_an_archive_of_one_file_beside_its_card_is_that_file() -> None:
    data = zip_file({"LICENSE": b"MIT", "a.csv": b"prompt\nq\n", "dataset_info.json": b"{}"})
    assert list(formats.read([data])) == [PromptRecord(Q)]
    with pytest.raises(Invalid, match=r"no files with data; 1 file .* skipped.*: README\.md$"):
        list(formats.read([zip_file({"README.md": b"x"})]))


def test_archive_is_called_one_and_read_by_that_name() -> None:
    data = zip_file({"a": b'{"prompt": "a"}', "b": b'{"prompt": "b"}'})
    head = [item.data for item in raw_rows([data]) if isinstance(item, RawRow)]
    assert registry.detect(head) == "zip"
    assert len(list(registry.outcomes([data], "zip"))) == 2
    assert len(list(formats.read([data], "prompts"))) == 2
    with pytest.raises(Invalid, match="there is no format 'parrot'"):
        formats.read([data], "parrot")
    with pytest.raises(Invalid, match="not a zip archive"):
        formats.read([b'{"prompt": "a"}'], "zip")


def test_archive_of_one_file_is_that_file() -> None:
    data = zip_file({"a.csv": b"prompt,response\nq,a\n,\n"})
    assert registry.detect([i.data for i in raw_rows([data]) if isinstance(i, RawRow)]) == "csv"
    first, second = formats.read([data])
    assert first == DemonstrationRecord(Q, "a")
    assert isinstance(second, Rejected)
    assert second.reason == "the prompt is empty"


def test_zip_bomb_is_stopped_by_ratio_and_by_total() -> None:
    line = b'{"prompt": "q"}\n'
    data = zip_file({"a": line * 100_000, "b": line})
    small = Limits(line_bytes=1000, gzip_ratio=5)
    found = list(formats.read([data], limits=small))
    assert all("grow more than 5 times" in reason for _, reason in rejects(found))
    assert len(found) < 10_000
    found = list(formats.read([data], limits=Limits(archive_bytes=len(data) + 20_000)))
    assert "the zip data grow more than" in rejects(found)[0][1]


def test_zip_inside_a_zip_is_refused_and_the_rest_read() -> None:
    data = zip_file({"a.zip": zip_file({"x": b'{"prompt": "q"}'}), "b": b'{"prompt": "q"}'})
    rejected, record = formats.read([data])
    assert isinstance(rejected, Rejected)
    assert "a.zip: no line could be read: a zip archive inside" in rejected.reason
    assert record == PromptRecord(Q)


def test_names_in_an_archive_are_shown_and_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"../../evil\n.jsonl": b'{"prompt": ""}', "/etc/" + "x" * 200: b'{"prompt": ""}'}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    first, second = rejects(list(formats.read([out.getvalue()])))
    assert first[1].startswith("../../evil\N{REPLACEMENT CHARACTER}.jsonl: ")
    assert len(second[1].partition(":")[0]) == 80
    assert not list(tmp_path.iterdir())


def test_archive_that_cannot_be_read_says_why() -> None:
    data = zip_file({"a": b'{"prompt": "q"}' * 50, "b": b"x"})
    with pytest.raises(Invalid, match="the zip data are damaged"):
        list(formats.read([data[:-30]]))
    with pytest.raises(Invalid, match="holds more than 1 files"):
        list(formats.read([data], limits=Limits(archive_files=1)))
    with pytest.raises(Invalid, match="the zip archive holds no files"):
        list(formats.read([zip_file({})]))
    with pytest.raises(Invalid, match="an Excel workbook; save its sheet as CSV"):
        list(formats.read([zip_file({"xl/workbook.xml": b"<x/>", "a": b""})]))
    broken = bytearray(data)
    broken[40] ^= 0xFF
    assert (
        "a: no line could be read: the zip data"
        in rejects(list(formats.read([bytes(broken)])))[0][1]
    )


def test_rows_of_an_archive_are_objects_of_json() -> None:
    line = json.dumps({"prompt": "q"}).encode()
    assert [
        item.data for item in raw_rows([zip_file({"a": line})]) if isinstance(item, RawRow)
    ] == [line]
