"""Data sets and tools others made, on rows written by hand."""

import json
from typing import Any

import pytest

from app import formats
from app.domain.ranking import Ranking, Strength
from app.formats import llama_factory
from app.formats.preference_pairs import pair
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    Turn,
    VoteRecord,
)

Q = (Turn("user", "q"),)
XY = (CompletionText("x"), CompletionText("y"))


def read(row: dict[str, Any]) -> list[Record | Rejected]:
    return list(formats.read([json.dumps(row).encode()]))


def reason(row: dict[str, Any]) -> str:
    (record,) = read(row)
    assert isinstance(record, Rejected)
    return record.reason


def rated(response: str, *ratings: str, overall: int = 10) -> dict[str, Any]:
    aspects = {f"aspect {n}": {"Rating": rating} for n, rating in enumerate(ratings)}
    return {
        "model": f"m-{response}",
        "response": response,
        "overall_score": overall,
        "annotations": aspects,
    }


def battle(winner: str, **more: Any) -> dict[str, Any]:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]

    return {
        "question_id": "7",
        "model_a": "m1",
        "model_b": "m2",
        "winner": winner,
        "judge": "j",
        "conversation_a": said("x"),
        "conversation_b": said("y"),
        **more,
    }


def task(result: dict[str, Any], **data: Any) -> dict[str, Any]:
    annotation = {"completed_by": {"id": 4, "email": "a@b.c"}, "result": [result]}
    return {"id": 1, "data": {"prompt": "q", **data}, "annotations": [annotation]}


ITEMS = [{"id": "i", "body": "x"}, {"id": "j", "body": "y"}, {"id": "k", "body": "z"}]


def ranker(value: Any) -> dict[str, Any]:
    return task({"type": "ranker", "value": {"ranker": value}}, items=ITEMS)


def only_preference(row: dict[str, Any]) -> PreferenceRecord:
    (record,) = read(row)
    assert isinstance(record, PreferenceRecord)
    return record


def test_shp_label_one_means_a() -> None:
    row = {"history": "q", "human_ref_A": "x", "human_ref_B": "y", "score_ratio": 2.5}
    assert pair(only_preference({**row, "labels": 1})) == ("x", "y")
    assert pair(only_preference({**row, "labels": 0})) == ("y", "x")
    assert only_preference({**row, "labels": 0}).margin == 2.5
    assert reason({**row, "labels": 2}) == "'labels' must be 0 or 1, not 2"


def test_ultrafeedback_ranks_by_fine_grained_means_and_not_by_the_overall_score() -> None:
    completions = [
        rated("bad", "1", "1", "1", overall=10),
        rated("good", "5", "4", "N/A", overall=8),
        rated("fair", "4", "2", "3", overall=6),
        rated("unrated", "N/A"),
    ]
    found = only_preference({"instruction": "q", "completions": completions})
    assert [candidate.text for candidate in found.candidates] == ["bad", "good", "fair"]
    assert found.ranking == Ranking((3, 1, 2))
    assert found.candidates[0].source == "m-bad"


def test_ultrafeedback_with_one_rated_completion_is_refused() -> None:
    row = {"instruction": "q", "completions": [rated("a", "1"), rated("b", "N/A")]}
    assert reason(row) == "a ranking needs at least two rated completions, not 1"


@pytest.mark.parametrize(
    ("choice", "confidence", "strength"),
    [
        (0, 1, Strength.STRONG),
        (1, 6, Strength.NEGLIGIBLE),
        (0, 9, None),
        (1, 5, None),
        (1, None, None),
    ],
)
def test_summary_confidence_is_a_strength_on_the_side_of_the_choice(
    choice: int, confidence: int | None, strength: Strength | None
) -> None:
    found = only_preference(
        {
            "info": {"id": "t3", "title": "T", "post": "P"},
            "summaries": [{"text": "x", "policy": "sup"}, {"text": "y", "policy": "ref"}],
            "choice": choice,
            "worker": "w1",
            "extra": {"confidence": confidence},
        }
    )
    assert found.messages == (Turn("user", "T\n\nP"),)
    assert (found.preferred, found.strength, found.labeler) == (choice, strength, "w1")


@pytest.mark.parametrize(("winner", "preferred"), [("model_a", 0), ("model_b", 1), ("tie", None)])
def test_arena_battle(winner: str, preferred: int | None) -> None:
    found = only_preference(battle(winner))
    assert (found.preferred, found.labeler, found.messages) == (preferred, "j", Q)
    assert [c.source for c in found.candidates] == ["m1", "m2"]


def test_arena_both_bad_stays_beside_the_tie() -> None:
    (found,) = read(battle("tie (bothbad)"))
    assert isinstance(found, ComparisonRecord)
    assert found.votes == (VoteRecord("j", Ranking((1, 1)), both_bad=True),)


def test_arena_models_that_were_asked_the_same_follow_up_keep_their_own_turns() -> None:
    more = [{"role": "user", "content": "and?"}, {"role": "assistant", "content": "z"}]
    row = battle("tie")
    for side in ("conversation_a", "conversation_b"):
        row[side] = row[side] + more
    (record,) = read(row)
    assert isinstance(record, PreferenceRecord)
    assert [one.follow_ups for one in record.candidates] == [("and?",)] * 2
    assert record.candidates[0].earlier[0] != record.candidates[1].earlier[0]
    assert {one.text for one in record.candidates} == {"z"}


def test_arena_conversation_that_went_two_ways_is_refused() -> None:
    row = battle("tie")
    for side, asked in (("conversation_a", "and?"), ("conversation_b", "why?")):
        more = [{"role": "user", "content": asked}, {"role": "assistant", "content": "z"}]
        row[side] = row[side] + more
    assert "diverge at turn 2 of 4" in reason(row)
    assert "'winner' must be" in reason(battle("nobody"))


def test_open_assistant_tree_gives_each_prompt_its_replies() -> None:
    def node(role: str, text: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"message_id": text, "role": role, "text": text, "replies": list(replies), **more}

    tree = node(
        "prompter",
        "q",
        node("assistant", "second", rank=1),
        node("assistant", "best", node("prompter", "q2", node("assistant", "a2")), rank=0),
        node("assistant", "spam", rank=2, deleted=True),
    )
    ranking, best, demonstration = read({"message_tree_id": "t", "prompt": tree})
    assert best == DemonstrationRecord(Q, "best", "q")
    assert isinstance(ranking, PreferenceRecord)
    assert pair(ranking) == ("best", "second")
    assert isinstance(demonstration, DemonstrationRecord)
    assert [turn.content for turn in demonstration.messages] == ["q", "best", "q2"]
    assert demonstration.response == "a2"
    assert read({"message_tree_id": "t", "prompt": node("prompter", "q")}) == [PromptRecord(Q, "q")]
    unranked = node("prompter", "q", node("assistant", "x"), node("assistant", "y"))
    assert read({"message_tree_id": "t", "prompt": unranked}) == [CompletionsRecord(Q, XY, "q")]


def test_label_studio_pairwise_keeps_the_labeler_and_no_address() -> None:
    result = {"type": "pairwise", "value": {"selected": "right"}}
    found = only_preference(task(result, answer1="x", answer2="y"))
    assert (pair(found), found.labeler) == (("y", "x"), "4")


@pytest.mark.parametrize(
    ("value", "texts", "ranks"),
    [
        (["k", "i", "j"], "xyz", (2, 3, 1)),
        ({"rank": ["k", "i", "j"]}, "xyz", (2, 3, 1)),
        ({"good": ["j"], "bad": ["i", "k"]}, "xyz", (2, 1, 2)),
        ({"_": ["i"], "good": ["k"], "bad": ["j"]}, "yz", (2, 1)),
    ],
)
def test_label_studio_ranker_shapes(value: Any, texts: str, ranks: tuple[int, ...]) -> None:
    found = only_preference(ranker(value))
    assert [candidate.text for candidate in found.candidates] == list(texts)
    assert found.ranking == Ranking(ranks)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (ranker(["i", "q"]), "the ranker names item q, but the task has no such item"),
        (ranker(["i", "j", "i"]), "ranking names completion i twice"),
        (task({"type": "choices", "value": {}}), "no pairwise or ranker annotation"),
        (task({"type": "pairwise", "value": {"selected": "right"}}), "has no pair of texts"),
        (task({"type": "pairwise", "value": {}}, left="x", right="y"), "left or right, not None"),
    ],
)
def test_label_studio_task_that_cannot_be_read_says_why(row: dict[str, Any], why: str) -> None:
    assert why in reason(row)


@pytest.mark.parametrize(
    "responses",
    [
        {"ranking": [{"value": ["response-2", "response-1"], "user_id": "u"}]},
        [
            {
                "user_id": "u",
                "status": "submitted",
                "values": {
                    "ranking": {
                        "value": [
                            {"rank": 2, "value": "response-1"},
                            {"rank": 1, "value": "response-2"},
                        ]
                    },
                    "comment": {"value": "fine"},
                },
            },
            {"user_id": "v", "status": "draft", "values": {"ranking": {"value": ["response-1"]}}},
        ],
    ],
)
def test_argilla_versions_say_the_same(responses: Any) -> None:
    texts = {"prompt": "q", "response_1": "x", "response_2": "y"}
    found = only_preference({"id": "r", "fields": texts, "responses": responses})
    assert found == PreferenceRecord(Q, XY, Ranking((2, 1)), "u", source_id="r")


def test_argilla_record_that_cannot_be_read_says_why() -> None:
    texts = {"prompt": "q", "response_1": "x"}
    assert reason({"fields": texts, "responses": {}}) == "the record has no submitted ranking"
    answer = {"ranking": [{"value": ["response-1", "other"]}]}
    assert "'other', but the record has no such" in reason({"fields": texts, "responses": answer})


def test_llama_factory_info_names_columns_that_rows_have() -> None:
    record = PreferenceRecord(Q, XY, Ranking((2, 1)))
    for sharegpt, write in (
        (False, llama_factory.write_alpaca),
        (True, llama_factory.write_sharegpt),
    ):
        entry = llama_factory.dataset_info("a", "a.jsonl", sharegpt=sharegpt)["a"]
        assert isinstance(entry, dict)
        assert entry["ranking"] is True
        assert set(entry["columns"].values()) <= write(record).keys()
