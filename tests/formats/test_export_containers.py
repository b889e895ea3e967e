"""Exports as JSON lines, gzip, Parquet and CSV: the same rows, read back as they were written."""

import csv
import hashlib
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from app import formats
from app.domain.ranking import Ranking
from app.domain.splits import Split
from app.errors import Invalid
from app.formats import containers, data_card, jsonl, prompts, rich, trl, writers
from app.formats.containers import Container
from app.formats.records import (
    ComparisonRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    Record,
    Row,
    Turn,
    UnpairedRecord,
    VoteRecord,
)
from app.formats.tables import guarded
from app.services.datasets import export_rows
from tests.formats import strategies as drawn

Q = (Turn("user", "Why?"),)
TALK = (Turn("system", "Be kind."), Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))
RATED = VoteRecord("L1", Ranking((1, 2)), ratings={"kind": (4, 2), "safe": (3, 3)}, comment="=1+1")
PAIRS: dict[str, st.SearchStrategy[Any]] = {
    name: drawn.preferences(
        None if name in {"trl-implicit", "trl-explicit", "openai-preference"} else drawn.single
    )
    for name in writers.PREFERENCES
}
Written = tuple[st.SearchStrategy[Any], Callable[[Any], Row]]
WRITERS: dict[str, Written] = {
    **{name: (PAIRS[name], writers.preference(name)) for name in writers.PREFERENCES},
    "unpaired": (drawn.unpaired, trl.write_unpaired),
    "demonstrations": (
        st.builds(DemonstrationRecord, drawn.conversations(), drawn.said),
        prompts.write_demonstration,
    ),
    "demonstrations-text": (
        st.builds(DemonstrationRecord, drawn.single, drawn.said),
        prompts.write_demonstration_text,
    ),
    "rich": (drawn.comparisons(), rich.write),
}
TEXTS = ("trl-implicit-text", "trl-explicit-text", "vertex-rlhf", "hh", "demonstrations-text")
CONTAINERS = {
    format: [
        Container.JSONL,
        Container.PARQUET,
        *([] if format.startswith("llama-factory") else [Container.GZIP]),
        *([Container.CSV] if format in TEXTS else []),
    ]
    for format in WRITERS
}
# Texts that happen to hold markers would be detected as transcripts.
NAMES = {"hh": "hh", "trl-implicit-text": "trl"}


def lines_of(format: str, records: list[Record]) -> list[bytes]:
    """Write what the format can express."""
    lines = []
    for record in records:
        try:
            lines.append(jsonl.encode(WRITERS[format][1](record)))
        except Invalid:
            continue
    return lines


def stored(lines: list[bytes], format: str, container: Container) -> tuple[bytes, Any]:
    with TemporaryDirectory() as folder:
        file = containers.write(Path(folder), "data", iter(lines), format, container)
        assert [path.name for path in Path(folder).iterdir()] == [f"data.{container}"]
        data = (Path(folder) / file.name).read_bytes()
    assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return data, file


@pytest.mark.parametrize("format", WRITERS)
@settings(max_examples=25)
@given(data=st.data())
def test_rows_come_back_from_every_container(format: str, data: st.DataObject) -> None:
    records = data.draw(st.lists(WRITERS[format][0], min_size=1, max_size=4))
    lines = lines_of(format, records)
    if not lines:
        return
    for container in CONTAINERS[format]:
        content, _ = stored(lines, format, container)
        outcomes = formats.read([content], NAMES.get(format))
        back = [record for record in outcomes if isinstance(record, Record)]
        assert lines_of(format, back) == lines
        assert stored(lines, format, container)[0] == content  # equal rows, equal bytes


def test_every_export_format_has_columns_or_a_reason() -> None:
    allowed = {**CONTAINERS, export_rows.TRAINING: [Container.JSONL, Container.GZIP]}
    assert allowed.keys() == export_rows.TITLES.keys()
    for format, some in allowed.items():
        assert set(containers.of_format(format)) == set(some)
        for container in Container:
            if container in some:
                containers.check(format, container)
            else:
                with pytest.raises(Invalid, match=f"{format} cannot be {container}: "):
                    containers.check(format, container)


def test_a_refusal_names_the_column_and_a_way_out() -> None:
    with pytest.raises(Invalid) as caught:
        containers.check("trl-explicit", Container.CSV)
    assert "'prompt' holds a list or an object" in str(caught.value)
    assert "trl-explicit-text" in str(caught.value)
    with pytest.raises(Invalid, match=r"there are jsonl, jsonl\.gz, parquet, csv"):
        containers.named("xlsx")


def pairs(*texts: tuple[str, str]) -> list[bytes]:
    return [
        jsonl.encode({"prompt": "Why?\n\n", "chosen": chosen, "rejected": rejected})
        for chosen, rejected in texts
    ]


@given(st.text(st.sampled_from("'=+-@\t\ra\n"), max_size=4))
def test_no_cell_is_a_formula_and_every_text_comes_back(text: str) -> None:
    content, _ = stored(pairs((text, "no" + text)), "trl-explicit-text", Container.CSV)
    header, cells = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert header == ["prompt", "chosen", "rejected"]
    assert not cells[1].startswith(("=", "+", "-", "@", "\t", "\r"))
    (record,) = formats.read([content])
    assert isinstance(record, PreferenceRecord)
    assert record.candidates == (CompletionText(text), CompletionText("no" + text))


def test_numbers_are_no_formulas_and_keep_their_value() -> None:
    margins = (-0.5, 1e-07, 0.1 + 0.2, 2.0)
    rows = [{"chosen": "a b", "rejected": "a c", "margin": margin} for margin in margins]
    content, _ = stored([jsonl.encode(row) for row in rows], "trl-implicit-text", Container.CSV)
    assert b",-0.5\r\n" in content
    back = [record for record in formats.read([content]) if isinstance(record, PreferenceRecord)]
    assert tuple(record.margin for record in back) == margins


def test_csv_has_a_mark_for_spreadsheets_and_an_empty_text_is_not_a_missing_cell() -> None:
    content, _ = stored(pairs(("", "x")), "trl-explicit-text", Container.CSV)
    assert content.startswith(b"\xef\xbb\xbfprompt,chosen,rejected\r\n")
    assert guarded("'") == "''"
    assert content.endswith(b"',x\r\n")


@pytest.mark.parametrize("container", [Container.JSONL, Container.PARQUET])
def test_settlements_and_margins_are_told_apart_from_none(container: Container) -> None:
    said = VoteRecord("L1", Ranking((1, 2)), margin=2.5)
    plain = ComparisonRecord(Q, (CompletionText("a"), CompletionText("b")), (RATED,))
    settled = replace(plain, votes=(said,), settled=Ranking((2, 1)))
    records = [plain, settled, replace(plain, is_settled_as_bad=True)]
    content, _ = stored([jsonl.encode(rich.write(one)) for one in records], "rich", container)
    outcomes = formats.read([content], "rich")
    found = [one for one in outcomes if isinstance(one, ComparisonRecord)]
    assert [(one.settled, one.is_settled_as_bad) for one in found] == [
        (None, False),
        (Ranking((2, 1)), False),
        (None, True),
    ]
    assert found[1].votes[0].margin == 2.5


def test_gzip_has_no_time() -> None:
    content, _ = stored(pairs(("a", "b")), "trl-explicit-text", Container.GZIP)
    assert content[4:8] == b"\0\0\0\0"


def test_parquet_declares_nested_columns_even_without_values() -> None:
    record = ComparisonRecord(TALK, (CompletionText("x"), CompletionText("y", "m")), (RATED,))
    content, _ = stored([jsonl.encode(rich.write(record))], "rich", Container.PARQUET)
    schema = pyarrow.parquet.read_schema(io.BytesIO(content))
    assert str(schema.field("context").type) == (
        "list<element: struct<role: string, content: string>>"
    )
    assert "null" not in str(schema.field("individual_preference").type)
    assert list(formats.read([content])) == [record]


def test_a_very_repetitive_parquet_file_can_be_imported_again() -> None:
    said = {"role": "user", "content": "very " * 2_000}
    lines = [
        jsonl.encode({"messages": [said, {"role": "assistant", "content": str(n)}]})
        for n in range(600)
    ]
    content, _ = stored(lines, "demonstrations", Container.PARQUET)
    assert len(list(formats.read([content]))) == 600


def test_memory_is_bounded_and_row_groups_are_small(tmp_path: Path) -> None:
    def lines() -> Iterator[bytes]:
        for n in range(8_000):
            yield jsonl.encode({"chosen": f"{n} " + "a" * 2_000, "rejected": f"{n} " + "b" * 2_000})

    for container in (Container.PARQUET, Container.CSV, Container.GZIP):
        tracemalloc.start()
        file = containers.write(tmp_path, "data", lines(), "trl-implicit-text", container)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20, container
        tracemalloc.stop()
        assert file.bytes > 0
    metadata = pyarrow.parquet.read_metadata(tmp_path / "data.parquet")
    assert (metadata.num_rows, metadata.num_row_groups) == (8_000, 8)


def test_a_field_without_a_place_is_refused_and_not_dropped() -> None:
    line = jsonl.encode({"messages": [{"role": "user", "content": "a", "mood": "good"}]})
    with pytest.raises(Invalid, match="'messages' has no place for the field 'mood'"):
        stored([line], "demonstrations", Container.PARQUET)


def test_an_additional_column_is_kept() -> None:
    lines = [jsonl.encode({"prompt": "a", "completion": "b", "instruction": "c"})]
    content, file = stored(lines, "demonstrations-text", Container.PARQUET)
    assert pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist() == [json.loads(lines[0])]
    assert list(file.columns) == ["prompt", "completion", "instruction"]
    with pytest.raises(Invalid, match="'tags' has no declared type"):
        stored([jsonl.encode({"tags": []})], "demonstrations", Container.PARQUET)


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.jsonl", "jsonl"), ("a.JSONL.gz", "jsonl.gz"), ("a.parquet", "parquet"), ("a.csv", "csv")],
)
def test_a_container_is_told_by_the_end_of_a_name(name: str, container: str) -> None:
    assert containers.of_path(Path(name)) == container
    assert containers.of_path(Path("a.txt")) is None


def test_the_card_says_where_the_data_are() -> None:
    _, file = stored(pairs(("a", "b")), "trl-explicit-text", Container.CSV)
    header = data_card.header('Desk: "A"\n---', file, (Split.TEST, Split.TRAIN), "cc-by-4.0")
    start, text, rest = header.split("---\n", 2)
    assert (start, rest) == ("", "\n")
    values = yaml.safe_load(text)
    assert values["pretty_name"] == 'Desk: "A" ---'
    assert values["license"] == "cc-by-4.0"
    assert values["configs"] == [
        {
            "config_name": "default",
            "data_files": [{"split": "train_and_test", "path": "data.csv"}],
            "keep_default_na": False,
            "na_values": [""],
        }
    ]
    assert values["dataset_info"]["features"] == [
        {"name": name, "dtype": "string"} for name in ("prompt", "chosen", "rejected")
    ]


def test_the_card_states_nested_types() -> None:
    record = UnpairedRecord(Q, "x", True)
    _, file = stored([jsonl.encode(trl.write_unpaired(record))], "unpaired", Container.PARQUET)
    values = yaml.safe_load(data_card.header("t", file, (Split.TRAIN,)).split("---\n")[1])
    message = [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]
    assert "license" not in values
    assert values["dataset_info"]["features"] == [
        {"name": "prompt", "list": message},
        {"name": "completion", "list": message},
        {"name": "label", "dtype": "bool"},
    ]


def test_llama_factory_finds_its_files() -> None:
    row = {"system": "", "instruction": "Why?", "input": "", "chosen": "a", "rejected": "x"}
    _, file = stored([jsonl.encode(row)], "llama-factory-alpaca", Container.PARQUET)
    described = data_card.dataset_info("llama-factory-alpaca", "Help desk, export 3", file)
    assert described is not None
    entry = json.loads(described)["help_desk_export_3"]
    assert (entry["file_name"], entry["ranking"]) == ("data.parquet", True)
    assert set(entry["columns"].values()) == row.keys()
    assert data_card.dataset_info("hh", "t", file) is None
