import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import formats
from app.errors import Invalid
from app.formats import writers
from app.formats.preference_pairs import pair
from app.formats.records import CompletionsRecord, PreferenceRecord, PromptRecord, Record, Rejected
from app.formats.registry import FORMATS

REAL = Path(__file__).parents[3] / "shared" / "data"


def real(name: str) -> list[Record | Rejected]:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    return list(formats.read([path.read_bytes()]))


def test_every_bad_line_is_reported_with_its_number_and_the_rest_goes_in() -> None:
    data = b"\n".join(
        [
            b'{"prompt": "one"}',
            b"",
            b"{nonsense",
            b'{"prompt": ""}',
            b'{"prompt": 3}',
            b'{"prompt": "two"}',
            b'{"other": "x"}',
        ]
    )
    found = list(formats.read([data]))
    prompts = [r.messages[0].content for r in found if isinstance(r, PromptRecord)]
    assert prompts == ["one", "two"]
    rejected = [r for r in found if isinstance(r, Rejected)]
    assert [r.line for r in rejected] == [3, 4, 5, 7]
    assert [r.reason for r in rejected] == [
        "not JSON: Expecting property name enclosed in double quotes at character 2",
        "turn 1 of the prompt is empty",
        "'prompt' must be text or a list of messages, not a number",
        "the row has no 'messages' or 'prompt'",
    ]
    assert rejected[0].raw == b"{nonsense"


def test_format_can_be_named_against_what_is_detected() -> None:
    start = "\n\nHuman: a\n\nAssistant: "
    row = json.dumps({"chosen": start + "b", "rejected": start + "c"}).encode()
    assert formats.detect([row]) == "hh"
    (as_trl,) = formats.read([row], "trl")
    assert isinstance(as_trl, PreferenceRecord)
    assert as_trl.messages[0].content.startswith("\n\nHuman:")


def test_answer_that_starts_like_a_transcript_is_still_an_answer() -> None:
    row = {
        "instruction": "q",
        "chosen": "Human:\n\nAssistant:",
        "rejected": "Human:\n\nAssistant: a",
    }
    assert formats.detect([json.dumps(row).encode()]) == "llama-factory-alpaca"


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(Invalid, match="there is no format 'parrot'; the formats are rich, "):
        formats.read([b"{}"], "parrot")
    with pytest.raises(Invalid, match="there is no preference format 'parrot'"):
        writers.preference("parrot")


def test_unknown_fields_are_listed() -> None:
    with pytest.raises(Invalid, match="no known format has these fields: beak, wing"):
        formats.read([b'{"wing": 1, "beak": 2}'])


@pytest.mark.parametrize("data", [b"", b"\n \n"])
def test_empty_file_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="the file is empty"):
        formats.read([data])


def test_file_without_a_readable_line_says_why() -> None:
    with pytest.raises(Invalid, match="no line could be read: the line is longer"):
        formats.read([b"x" * 2_000_000])


def test_names_are_unique_and_said_in_words() -> None:
    assert len(formats.names()) == len(FORMATS) + len(("csv", "lines", "zip"))
    assert all(formats.names().values())


def test_json_array_file_is_read_like_lines() -> None:
    rows = [{"instruction": "a", "input": "", "output": "b"}, {"instruction": "c", "output": "d"}]
    data = json.dumps(rows, indent=2).encode()
    assert formats.detect([b'{"instruction": "a", "input": "", "output": "b"}']) == "alpaca"
    assert len(list(formats.read([data]))) == 2


def test_reading_holds_one_row_at_a_time() -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b'{"prompt": "x"}\n'

    stream = formats.read(chunks())
    for _ in range(100):
        next(stream)
    assert taken <= 125


def test_mt_bench_questions() -> None:
    found = real("mt_bench_question.jsonl")
    assert len(found) == 80
    for record in found:
        assert isinstance(record, PromptRecord)
        assert [turn.role for turn in record.messages] == ["user", "user"]
        assert record.meta["category"]


def test_alpaca_eval_completions() -> None:
    found = real("alpaca_eval_slice.jsonl")
    assert len(found) == 202
    for record in found:
        assert isinstance(record, CompletionsRecord)
        assert len(record.completions) == 4
        assert all(candidate.source for candidate in record.completions)


def test_hh_pairs_come_back_as_they_were() -> None:
    found = real("hh_rlhf_slice.jsonl")
    write = writers.preference("hh")
    rows = [json.loads(line) for line in (REAL / "hh_rlhf_slice.jsonl").read_bytes().splitlines()]
    assert len(found) == len(rows) == 300
    for record, row in zip(found, rows, strict=True):
        assert isinstance(record, PreferenceRecord)
        assert record.messages[-1].role == "user"
        assert write(record) == row


def test_hh_pairs_survive_every_other_format() -> None:
    records = [r for r in real("hh_rlhf_slice.jsonl") if isinstance(r, PreferenceRecord)]
    for name in ("trl-explicit", "trl-implicit", "openai-preference"):
        lines = [json.dumps(writers.preference(name)(r)).encode() + b"\n" for r in records]
        back = [r for r in formats.read(lines) if isinstance(r, PreferenceRecord)]
        assert [(r.messages, pair(r)) for r in back] == [(r.messages, pair(r)) for r in records]
