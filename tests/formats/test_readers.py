"""What each format's rows mean, on rows written by hand."""

import json
from typing import Any

import pytest

from app import formats
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats.preference_pairs import pair
from app.formats.records import (
    CompletionsRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    Turn,
    UnpairedRecord,
)


def user(*said: str) -> tuple[Turn, ...]:
    """A conversation that starts with the user and takes turns."""
    return tuple(Turn(("user", "assistant")[n % 2], text) for n, text in enumerate(said))


def turns(*said: str) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in user(*said)]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def read(row: dict[str, Any], name: str | None = None) -> Record | Rejected:
    (record,) = formats.read([json.dumps(row).encode()], name)
    return record


def reason(row: dict[str, Any], name: str | None = None) -> str:
    record = read(row, name)
    assert isinstance(record, Rejected)
    return record.reason


def hh(*said: str) -> str:
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[n % 2]}: {text}" for n, text in enumerate(said))


CASES: list[tuple[str, dict[str, Any], Record]] = [
    ("prompts", {"prompt": "q", "topic": "t"}, PromptRecord(user("q"), meta={"topic": "t"})),
    ("prompts", {"id": 7, "messages": turns("q")}, PromptRecord(user("q"), "7")),
    ("prompts", {"prompt": turns("a", "b", "c")}, PromptRecord(user("a", "b", "c"))),
    ("prompts", {"prompt": "q", "completion": "a"}, DemonstrationRecord(user("q"), "a")),
    ("prompts", {"messages": turns("q", "a")}, DemonstrationRecord(user("q"), "a")),
    (
        "prompts",
        {"prompt": [{"role": "human", "content": [{"type": "text", "text": "q"}]}]},
        PromptRecord(user("q")),
    ),
    ("vertex-prompts", {"input_text": "q"}, PromptRecord(user("q"))),
    (
        "alpaca",
        {"instruction": "Sort", "input": "3 1", "output": "1 3"},
        DemonstrationRecord(user("Sort\n\n3 1"), "1 3"),
    ),
    ("alpaca", {"instruction": "Sort", "input": "", "output": ""}, PromptRecord(user("Sort"))),
    (
        "dolly",
        {"instruction": "Who?", "context": "", "response": "Ann", "category": "qa"},
        DemonstrationRecord(user("Who?"), "Ann", meta={"category": "qa"}),
    ),
    (
        "mt-bench",
        {"question_id": 81, "category": "math", "turns": ["a", "b"], "reference": ["r"]},
        PromptRecord((Turn("user", "a"), Turn("user", "b")), "81", meta={"category": "math"}),
    ),
    (
        "completions",
        {"instruction": "q", "completions": [{"model": "m", "output": "x"}, {"text": ""}, "y"]},
        CompletionsRecord(
            user("q"), (CompletionText("x", "m"), CompletionText(""), CompletionText("y"))
        ),
    ),
    (
        "model-columns",
        {"prompt": "q", "response_gpt": "x", "Output: my model": "y", "topic": "t"},
        CompletionsRecord(
            user("q"),
            (CompletionText("x", "gpt"), CompletionText("y", "my model")),
            meta={"topic": "t"},
        ),
    ),
    (
        "vertex-rlhf",
        {"input_text": "q", "candidate_0": "x", "candidate_1": "y", "choice": 1},
        PreferenceRecord(user("q"), (CompletionText("x"), CompletionText("y")), Ranking((2, 1))),
    ),
    (
        "unpaired",
        {"prompt": "q", "completion": "a", "label": False},
        UnpairedRecord(user("q"), "a", False),
    ),
]


@pytest.mark.parametrize(("name", "row", "record"), CASES)
def test_row_is_detected_and_read(name: str, row: dict[str, Any], record: Record) -> None:
    assert formats.detect([json.dumps(row).encode()]) == name
    assert read(row) == record


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "x", "rejected": "y"},
        {"prompt": turns("q"), "chosen": answer("x"), "rejected": answer("y")},
        {"chosen": turns("q", "x"), "rejected": turns("q", "y")},
        {"prompt": "q", "chosen": turns("q", "x"), "rejected": turns("q", "y")},
        {"chosen": hh("q", "x"), "rejected": hh("q", "y")},
        {"chosen": "q\n\nx", "rejected": "q\n\ny"},
        {
            "input": {"messages": turns("q")},
            "preferred_output": answer("x"),
            "non_preferred_output": answer("y"),
        },
    ],
)
def test_every_preference_format_says_the_same(row: dict[str, Any]) -> None:
    record = read(row)
    assert isinstance(record, PreferenceRecord)
    assert record.messages == user("q")
    assert pair(record) == ("x", "y")


def test_hh_prompt_is_cut_at_a_turn_and_not_where_answers_differ() -> None:
    record = read({"chosen": hh("a", "b", "c", "I am"), "rejected": hh("a", "b", "c", "I was")})
    assert isinstance(record, PreferenceRecord)
    assert record.messages == user("a", "b", "c")
    assert pair(record) == ("I am", "I was")


def test_hh_transcripts_with_the_same_follow_ups_respond_to_the_same_prompt() -> None:
    record = read({"chosen": hh("a", "b", "c", "d"), "rejected": hh("a", "x", "c", "d")}, "hh")
    assert isinstance(record, PreferenceRecord)
    assert record.messages == (Turn("user", "a"),)
    assert [[turn.content for turn in one.turns] for one in record.candidates] == [
        ["b", "c", "d"],
        ["x", "c", "d"],
    ]


@pytest.mark.parametrize(
    ("chosen", "rejected", "why"),
    [
        (hh("a", "b", "c", "d"), hh("a", "x", "y", "d"), "diverge at turn 2 of 4, in the prompt"),
        (hh("a", "b", "c", "d"), hh("a", "x"), "diverge at turn 2 of 4, in the prompt"),
        (hh("a", "b"), hh("a", "b"), "chosen and rejected are the same"),
        (hh("a", "b", "c"), hh("a", "b", "d"), "'chosen' ends with a user turn"),
        (hh("a", "b", "c", "d"), hh("a", "b"), "diverge at turn 3 of 4"),
        ("Human:", hh("a", "b"), "diverge at turn 1 of 2"),
        (hh("", "b"), hh("", "c"), "turn 1 of the prompt is empty"),
    ],
)
def test_hh_row_without_a_shared_prompt_is_refused(chosen: str, rejected: str, why: str) -> None:
    assert why in reason({"chosen": chosen, "rejected": rejected}, "hh")


def test_implicit_text_is_cut_at_a_space_where_it_has_no_empty_line() -> None:
    record = read({"chosen": "What is it? A cat", "rejected": "What is it? A cow"})
    assert isinstance(record, PreferenceRecord)
    assert record.messages == user("What is it? A")
    assert pair(record) == (" cat", " cow")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"chosen": "abc", "rejected": "abd"}, "chosen and rejected share no prompt"),
        ({"prompt": "q", "chosen": "x", "rejected": "x"}, "all completions have the same text"),
        ({"prompt": "q", "chosen": "x", "rejected": 4}, "'chosen' must be a list, not text"),
        (
            {"prompt": turns("q"), "chosen": turns("x", "y", "z"), "rejected": answer("w")},
            "diverge at turn 2 of 4",
        ),
        (
            {"prompt": turns("q", "a"), "chosen": "x", "rejected": "y"},
            "must end with a user turn, not with role 'ass",
        ),
        (
            {"input_text": "q", "candidate_0": "x", "candidate_1": "y", "choice": 2},
            "'choice' must be 0 or 1, not 2",
        ),
        (
            {"input_text": "q", "candidate_0": "x", "candidate_1": "y", "choice": True},
            "'choice' must be a whole number, not True",
        ),
        (
            {"prompt": [{"role": "tool", "content": "q"}]},
            "the role of turn 1 must be system, user",
        ),
        ({"prompt": [{"role": "user", "content": [{"type": "image"}]}]}, "only text is supported"),
        (
            {"messages": [{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]},
            "turn 2 is a system turn; only the first turn can be one",
        ),
        ({"prompt": []}, "the prompt is empty"),
        ({"turns": ["a", 3]}, "'turns' must be a list of texts"),
        ({"prompt": "q", "completions": []}, "there are no completions"),
        ({"prompt": "q", "completions": [3]}, "completion 1 must be text or an object"),
        ({"instruction": "", "output": "x"}, "turn 1 of the prompt is empty"),
        (
            {
                "context": "q",
                "completions": ["a", "b"],
                "individual_preference": [
                    {"labeler": "L1", "ranking": [1, 2], "shown_order": [0, 2]}
                ],
            },
            "shown order (0, 2) is not a permutation of 0 to 1",
        ),
        (
            {
                "context": "q",
                "completions": ["a", "b"],
                "individual_preference": [
                    {"labeler": "L1", "ranking": [1, 2]},
                    {"labeler": "L1", "ranking": [2, 1]},
                ],
            },
            "labeler L1 votes twice",
        ),
        (
            {
                "context": "q",
                "completions": ["a", "b"],
                "individual_preference": [
                    {"labeler": "L1", "ranking": [1, 2], "started_at": "2026-01-01T10:00:00"}
                ],
            },
            "time 2026-01-01T10:00:00 has no time zone",
        ),
    ],
)
def test_bad_row_is_refused_with_its_reason(row: dict[str, Any], why: str) -> None:
    assert why in reason(row)


def test_prompt_with_a_whole_conversation_beside_it_is_the_conversation() -> None:
    assert read({"prompt": "q", "messages": turns("q", "a")}) == DemonstrationRecord(user("q"), "a")


def test_a_pair_is_split_from_each_side_of_a_ranking() -> None:
    with pytest.raises(Invalid, match="3 completions have 2 ranks"):
        PreferenceRecord(user("q"), (CompletionText("x"),) * 3, Ranking((1, 2)))
