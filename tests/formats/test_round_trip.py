"""Export, import and export again give the same bytes, and the import says what was exported."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import formats
from app.errors import Invalid
from app.formats import (
    completions,
    csv_prompts,
    jsonl,
    mt_bench,
    prompts,
    rich,
    trl,
    vertex,
    writers,
)
from app.formats.preference_pairs import pair
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Row,
    Turn,
    UnpairedRecord,
)
from tests.formats import strategies as drawn

R = TypeVar("R", bound=Record)


def only(kind: type[R], data: bytes, name: str | None = None) -> R:
    (record,) = formats.read([data], name)
    assert isinstance(record, kind)
    return record


def again(kind: type[R], write: Callable[[R], Row], record: R, name: str) -> R:
    """Write, read by detection and by name, and write: the bytes must not change."""
    first = jsonl.encode(write(record))
    assert formats.detect([first]) == name
    back = only(kind, first)
    assert jsonl.encode(write(back)) == first
    return back


@given(drawn.prompts)
def test_prompts(record: PromptRecord) -> None:
    assert again(PromptRecord, prompts.write, record, "prompts") == record


@given(drawn.demonstrations)
def test_demonstrations(record: DemonstrationRecord) -> None:
    assert again(DemonstrationRecord, prompts.write_demonstration, record, "prompts") == record


@given(st.builds(DemonstrationRecord, drawn.single, drawn.said))
def test_demonstrations_as_text(record: DemonstrationRecord) -> None:
    write = prompts.write_demonstration_text
    assert again(DemonstrationRecord, write, record, "prompts") == record


@given(drawn.completions)
def test_completions(record: CompletionsRecord) -> None:
    assert again(CompletionsRecord, completions.write, record, "completions") == record


@given(drawn.comparisons())
def test_rich(record: ComparisonRecord) -> None:
    assert again(ComparisonRecord, rich.write, record, "rich") == record


@given(drawn.unpaired)
def test_unpaired(record: UnpairedRecord) -> None:
    assert again(UnpairedRecord, trl.write_unpaired, record, "unpaired") == record


@given(st.builds(UnpairedRecord, drawn.single, drawn.texts, st.booleans()))
def test_unpaired_as_text(record: UnpairedRecord) -> None:
    assert again(UnpairedRecord, trl.write_unpaired_text, record, "unpaired") == record


@given(st.lists(drawn.said, min_size=1, max_size=3), st.none() | st.integers(0, 99))
def test_mt_bench(turns: list[str], number: int | None) -> None:
    messages = tuple(Turn("user", turn) for turn in turns)
    name = None if number is None else str(number)
    record = PromptRecord(messages, name, {"category": "writing"})
    assert again(PromptRecord, mt_bench.write, record, "mt-bench") == record


@given(st.builds(PromptRecord, drawn.single))
def test_vertex_prompts(record: PromptRecord) -> None:
    assert again(PromptRecord, vertex.write_prompt, record, "vertex-prompts") == record


@pytest.mark.parametrize(
    ("name", "detected"),
    [
        ("trl-explicit", "trl"),
        ("trl-implicit", "trl"),
        ("openai-preference", "openai-preference"),
        ("llama-factory-sharegpt", "llama-factory-sharegpt"),
    ],
)
@given(record=drawn.preferences())
def test_preferences_over_conversations(name: str, detected: str, record: PreferenceRecord) -> None:
    back = again(PreferenceRecord, writers.preference(name), record, detected)
    assert (back.messages, pair(back)) == (record.messages, pair(record))


@pytest.mark.parametrize(
    ("name", "detected"),
    [
        ("trl-explicit-text", "trl"),
        ("vertex-rlhf", "vertex-rlhf"),
        ("llama-factory-alpaca", "llama-factory-alpaca"),
    ],
)
@given(record=drawn.preferences(drawn.single))
def test_preferences_over_texts(name: str, detected: str, record: PreferenceRecord) -> None:
    back = again(PreferenceRecord, writers.preference(name), record, detected)
    assert (back.messages, pair(back)) == (record.messages, pair(record))


@given(record=drawn.preferences(drawn.single))
def test_implicit_texts_keep_their_bytes(record: PreferenceRecord) -> None:
    write = writers.preference("trl-implicit-text")
    chosen, rejected = pair(record)
    if not (chosen and rejected) or chosen[0] == rejected[0]:
        with pytest.raises(Invalid, match="begin alike"):
            write(record)
        return
    first = jsonl.encode(write(record))
    back = only(PreferenceRecord, first, "trl")
    assert jsonl.encode(write(back)) == first


def peers_prompt(chosen: Sequence[object], rejected: Sequence[object]) -> Sequence[object]:
    """Return what TRL takes for an implicit prompt: what both share, without a last space."""
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if same == min(len(chosen), len(rejected)) or chosen[same - 1] == " ":
        same -= 1
    return chosen[:same]


@given(record=drawn.preferences(drawn.single))
def test_the_peer_finds_the_prompt_of_implicit_rows(record: PreferenceRecord) -> None:
    for name in ("trl-implicit", "trl-implicit-text"):
        try:
            row: Any = writers.preference(name)(record)
        except Invalid:
            continue
        texts = name.endswith("text")
        explicit: Any = writers.preference(name.replace("implicit", "explicit"))(record)
        prompt = peers_prompt(row["chosen"], row["rejected"])
        assert prompt == explicit["prompt"]
        assert row["chosen"][len(prompt) :] == explicit["chosen"]
        assert texts == isinstance(row["chosen"], str)


@given(record=drawn.preferences())
def test_hh_carries_a_preference_or_says_why_not(record: PreferenceRecord) -> None:
    try:
        first = jsonl.encode(writers.preference("hh")(record))
    except Invalid:
        marks = [t.content for t in record.messages] + [c.text for c in record.candidates]
        assert record.messages[0].role == "system" or any(
            f"\n\n{who}:" in "\n\n" + text or f"\n\n{who}:" in text
            for who in ("Human", "Assistant")
            for text in marks
        )
        return
    back = only(PreferenceRecord, first)
    assert (back.messages, pair(back)) == (record.messages, pair(record))
    assert jsonl.encode(writers.preference("hh")(back)) == first


@pytest.mark.parametrize("name", ["trl-explicit", "trl-implicit", "trl-explicit-text"])
@given(record=drawn.preferences(drawn.single))
def test_margin_is_carried_where_asked(name: str, record: PreferenceRecord) -> None:
    back = again(PreferenceRecord, writers.preference(name, margin=True), record, "trl")
    assert back.margin == record.margin
    assert "margin" not in writers.preference(name)(record)


@given(st.lists(st.builds(PromptRecord, drawn.single, st.none() | drawn.names), max_size=4))
def test_csv(records: list[PromptRecord]) -> None:
    first = b"".join(csv_prompts.write(records))
    back = list(formats.read([first]))
    assert back == records
    assert b"".join(csv_prompts.write(r for r in back if isinstance(r, PromptRecord))) == first
