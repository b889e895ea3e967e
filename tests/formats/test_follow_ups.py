"""Responses to a follow-up, each after a first response of its own, in every format."""

import json
import re
from typing import Any

import pytest

from app import formats
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import completions, jsonl, practice, rich, writers
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    PreferenceRecord,
    PromptRecord,
    Rejected,
    Turn,
    VoteRecord,
)

ASKED = (Turn("user", "Describe Hawaii."),)
HOLDING = {"trl-explicit": "trl", "trl-implicit": "trl", "hh": "hh"}


def completion(first: str, second: str, source: str | None = None) -> CompletionText:
    earlier = (Turn("assistant", first), Turn("user", "Shorter, please."))
    return CompletionText(second, source, earlier)


CHOSEN, REJECTED = completion("A long text.", "A text."), completion("An essay.", "An essay.")
RECORD = PreferenceRecord(ASKED, (CHOSEN, REJECTED), Ranking((1, 2)))


def read(data: bytes) -> Any:
    (record,) = formats.read([data])
    return record


@pytest.mark.parametrize("name", HOLDING)
@pytest.mark.parametrize("rejected", [REJECTED, completion("A long text.", "An essay.")])
def test_formats_of_whole_conversations_hold_both_turns(
    name: str, rejected: CompletionText
) -> None:
    record = PreferenceRecord(ASKED, (CHOSEN, rejected), Ranking((1, 2)))
    data = jsonl.encode(writers.preference(name)(record))
    assert formats.detect([data]) == HOLDING[name]
    back = read(data)
    if name == "trl-explicit":
        assert (back.messages, back.candidates) == (record.messages, record.candidates)
    said = [(*back.messages, *one.turns) for one in back.candidates]
    assert said == [(*ASKED, *one.turns) for one in record.candidates]
    assert jsonl.encode(writers.preference(name)(back)) == data


@pytest.mark.parametrize("name", sorted(set(writers.PREFERENCES) - set(HOLDING)))
def test_other_formats_refuse_them_and_name_those_that_do_not(name: str) -> None:
    with pytest.raises(Invalid, match="trl-explicit, trl-implicit, hh, unpaired and rich can"):
        writers.preference(name)(RECORD)


def test_rich_and_completions_round_trip() -> None:
    named = (completion("a", "b", "one"), completion("c", "b", "two"))
    votes = (VoteRecord("l", Ranking((1, 2))),)
    comparison = ComparisonRecord(ASKED, named, votes, comparison="1")
    data = jsonl.encode(rich.write(comparison))
    assert read(data) == comparison
    candidates = CompletionsRecord(ASKED, named)
    assert read(jsonl.encode(completions.write(candidates))) == candidates


def test_responses_to_different_follow_ups_are_refused() -> None:
    other = CompletionText("x", None, (Turn("assistant", "y"), Turn("user", "Longer, please.")))
    for candidates in ((CHOSEN, other), (CHOSEN, CompletionText("x"))):
        with pytest.raises(Invalid, match="different follow-ups"):
            PreferenceRecord(ASKED, candidates, Ranking((1, 2)))
        row = {
            "prompt": "Describe Hawaii.",
            "completions": [completions.as_row(one) for one in candidates],
            "answer": "a",
        }
        with pytest.raises(Invalid, match="different follow-ups"):
            practice.read(row)


@pytest.mark.parametrize(
    ("earlier", "why"),
    [
        ([{"role": "user", "content": "b"}], "turn 1 before .* must be of the assistant"),
        ([{"role": "assistant", "content": "b"}], "must end with the follow-up"),
    ],
)
def test_turns_that_do_not_alternate_are_refused(earlier: list[dict[str, str]], why: str) -> None:
    row = {"prompt": "a", "completions": [{"text": "c", "earlier": earlier}, "d"]}
    record = read(json.dumps(row).encode())
    assert isinstance(record, Rejected)
    assert re.search(why, record.reason)


def test_equal_texts_after_different_turns_are_two_completions() -> None:
    same = (completion("a", "same"), completion("b", "same"))
    record = PreferenceRecord(ASKED, same, Ranking((1, 2)))
    assert json.dumps(writers.preference("trl-explicit")(record)).count('"same"') == 2
    with pytest.raises(Invalid, match="same text"):
        PreferenceRecord(ASKED, (same[0], same[0]), Ranking((1, 2)))


def test_mt_bench_turns_of_a_prompt_are_all_questions() -> None:
    row = {"question_id": 1, "category": "writing", "turns": ["a", "b"]}
    record = read(json.dumps(row).encode())
    assert record == PromptRecord(
        (Turn("user", "a"), Turn("user", "b")), "1", {"category": "writing"}
    )
