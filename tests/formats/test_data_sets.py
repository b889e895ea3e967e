"""Rows as the cards of public data sets write them, with values made up here."""

import json
from typing import Any

import pytest

from app import formats
from app.domain.ranking import Ranking, Strength
from app.formats import helpsteer
from app.formats.records import (
    ComparisonRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    Turn,
    UnpairedRecord,
    VoteRecord,
)

Q = (Turn("user", "q"),)
XY = (CompletionText("x"), CompletionText("y"))
LONG = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))


def read(row: dict[str, Any]) -> list[Record | Rejected]:
    return list(formats.read([json.dumps(row).encode()]))


def reason(row: dict[str, Any]) -> str:
    (record,) = read(row)
    assert isinstance(record, Rejected)
    return record.reason


def vote(*ranks: int, **more: Any) -> VoteRecord:
    return VoteRecord("", Ranking(ranks), **more)


def safe_rlhf(**more: Any) -> dict[str, Any]:
    return {
        "prompt": "q",
        "prompt_source": "Alpaca3-70B",
        "response_0": "x",
        "response_1": "y",
        "response_0_source": "Alpaca-7B",
        "response_1_source": "Alpaca-7B",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "response_0_harm_category": {"Violence": False},
        "response_1_harm_category": {"Violence": True},
        "response_0_severity_level": 0,
        "response_1_severity_level": 2,
        "better_response_id": 1,
        "safer_response_id": 0,
        "response_0_sha256": "aa",
        "response_1_sha256": "bb",
        **more,
    }


def battle(**more: Any) -> dict[str, Any]:
    return {
        "id": 30192,
        "model_a": "m1",
        "model_b": "m2",
        "prompt": '["q"]',
        "response_a": '["x"]',
        "response_b": '["y"]',
        "winner_model_a": 0,
        "winner_model_b": 1,
        "winner_tie": 0,
        **more,
    }


def annotation(**more: Any) -> dict[str, Any]:
    return {
        "id": 12,
        "prompt": "q",
        "answer1": "x",
        "answer2": "y",
        "preference": [{"selected": "right"}],
        "annotator": 4,
        "annotation_id": 31,
        "created_at": "2026-03-01T10:00:00Z",
        "updated_at": "2026-03-01T10:00:09Z",
        "lead_time": 8.6,
        **more,
    }


def helpsteer3(*scores: int, **more: Any) -> dict[str, Any]:
    return {
        "domain": "general",
        "language": "english",
        "context": [{"role": "user", "content": "q"}],
        "response1": "x",
        "response2": "y",
        "overall_preference": 1,
        "individual_preference": [
            {"score": score, "reasoning": "why", "feedback1": "f1", "feedback2": "f2"}
            for score in scores
        ],
        **more,
    }


def helpsteer2(**more: Any) -> dict[str, Any]:
    return {
        "split": "train",
        "prompt": "q",
        "response_1": "x",
        "response_2": "y",
        "preference_strength": -2,
        "preference_statement": "x is better",
        "preference_elaboration": "because",
        "three_most_similar_preferences": [{"statement": "s", "elaboration": "e", "strength": -2}],
        "all_preferences_unprocessed": [
            {"strength": -3, "justification": "j1"},
            {"strength": 0, "justification": "j2"},
            {"strength": -100, "justification": "j3"},
        ],
        **more,
    }


def transcript(*said: str) -> str:
    return "".join(f"\n\n{('Human', 'Assistant')[n % 2]}: {text}" for n, text in enumerate(said))


COMMENT = "why\n\nResponse 1: f1\n\nResponse 2: f2"
PKU = tuple(CompletionText(text, "Alpaca-7B") for text in ("x", "y"))
ARENA = (CompletionText("x", "m1"), CompletionText("y", "m2"))

CASES: list[tuple[str, dict[str, Any], list[Record]]] = [
    (
        "sharegpt",
        {
            "id": "s_0",
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "gpt", "value": "b"},
                {"from": "human", "value": "c"},
                {"from": "gpt", "value": "d"},
            ],
        },
        [DemonstrationRecord(LONG, "d", "s_0")],
    ),
    (
        "sharegpt",
        {"system": "s", "conversations": [{"from": "human", "value": "q"}]},
        [PromptRecord((Turn("system", "s"), *Q))],
    ),
    (
        "webgpt",
        {
            "question": {"dataset": "eli5", "id": "9u", "full_text": "q"},
            "quotes_0": {"title": ["t"], "extract": ["e"]},
            "answer_0": "x",
            "tokens_0": {"prefix": [1], "completion": [2]},
            "score_0": -0.25,
            "quotes_1": {"title": [], "extract": []},
            "answer_1": "y",
            "tokens_1": {"prefix": [1], "completion": [3]},
            "score_1": 0.25,
        },
        [PreferenceRecord(Q, XY, Ranking((2, 1)), margin=0.5, source_id="9u")],
    ),
    (
        "webgpt",
        {"question": "q", "answer_0": "x", "answer_1": "y", "score_0": 0.0, "score_1": 0.0},
        [PreferenceRecord(Q, XY, Ranking((1, 1)), margin=0.0)],
    ),
    (
        "helpsteer2",
        {
            "prompt": "q",
            "response": "x",
            "helpfulness": 0,
            "correctness": 1,
            "coherence": 4,
            "complexity": 2,
            "verbosity": 2,
        },
        [
            ComparisonRecord(
                Q,
                (CompletionText("x"),),
                (
                    VoteRecord(
                        "",
                        None,
                        ratings={
                            "helpfulness": (0,),
                            "correctness": (1,),
                            "coherence": (4,),
                            "complexity": (2,),
                            "verbosity": (2,),
                        },
                    ),
                ),
                kind="rate",
                scales=dict.fromkeys(helpsteer.CRITERIA, (0, 4)),
            )
        ],
    ),
    (
        "helpsteer2-preference",
        helpsteer2(),
        [
            ComparisonRecord(
                Q,
                XY,
                (
                    vote(1, 2, strength=Strength.STRONG, comment="j1"),
                    vote(1, 1, comment="j2"),
                    VoteRecord("", None, both_bad=True, comment="j3"),
                ),
                kind="pick",
            )
        ],
    ),
    (
        "helpsteer2-preference",
        helpsteer2(all_preferences_unprocessed=None),
        [
            ComparisonRecord(
                Q,
                XY,
                (vote(1, 2, strength=Strength.CLEAR, comment="x is better"),),
                kind="pick",
            )
        ],
    ),
    (
        "helpsteer3",
        helpsteer3(3, -1),
        [
            ComparisonRecord(
                Q,
                XY,
                (
                    vote(2, 1, strength=Strength.STRONG, comment=COMMENT),
                    vote(1, 2, strength=Strength.SLIGHT, comment=COMMENT),
                ),
                kind="pick",
                meta={"domain": "general", "language": "english"},
            )
        ],
    ),
    (
        "reward-bench",
        {
            "prompt": "q",
            "chosen": "x",
            "chosen_model": "m1",
            "rejected": "y",
            "rejected_model": "m2",
            "subset": "alpacaeval-easy",
            "id": 0,
        },
        [
            PreferenceRecord(
                Q, ARENA, Ranking((1, 2)), source_id="0", meta={"subset": "alpacaeval-easy"}
            )
        ],
    ),
    (
        "dialogsum",
        {"id": "train_0", "dialogue": "#Person1#: q", "summary": "s", "topic": "t"},
        [
            DemonstrationRecord(
                (Turn("user", "#Person1#: q"),), "s", "train_0", meta={"topic": "t"}
            )
        ],
    ),
    (
        "real-toxicity-prompts",
        {
            "filename": "0766186-bc7f.txt",
            "begin": 340,
            "end": 564,
            "challenging": False,
            "prompt": {"text": "q", "toxicity": 0.25, "profanity": None},
            "continuation": {"text": "z", "toxicity": 0.5, "severe_toxicity": 0.1},
        },
        [
            PromptRecord(
                Q,
                meta={
                    "filename": "0766186-bc7f.txt",
                    "begin": 340,
                    "end": 564,
                    "challenging": False,
                    "toxicity": 0.25,
                },
            )
        ],
    ),
    (
        "safe-rlhf",
        safe_rlhf(),
        [
            PreferenceRecord(Q, PKU, Ranking((2, 1)), meta={"prompt_source": "Alpaca3-70B"}),
            ComparisonRecord(
                Q,
                PKU,
                (VoteRecord("", None, ratings={"safety": (4, 1)}),),
                kind="rate",
                meta={"prompt_source": "Alpaca3-70B"},
                scales={"safety": (1, 4)},
            ),
        ],
    ),
    (
        "unpaired",
        {"prompt": "q", "completion": "x", "label": True},
        [UnpairedRecord(Q, "x", True)],
    ),
    (
        "unpaired",
        {"instruction": "q", "input": "", "output": "x", "kto_tag": False},
        [UnpairedRecord(Q, "x", False)],
    ),
    (
        "arena-55k",
        battle(),
        [PreferenceRecord(Q, ARENA, Ranking((2, 1)), source_id="30192")],
    ),
    (
        "arena-55k",
        battle(prompt=["q"], response_a=["x"], response_b=["y"], winner_model_b=0, winner_tie=1),
        [PreferenceRecord(Q, ARENA, Ranking((1, 1)), source_id="30192")],
    ),
    (
        "label-studio-min",
        annotation(),
        [PreferenceRecord(Q, XY, Ranking((2, 1)), "4", source_id="12")],
    ),
    (
        "rm-static",
        {
            "prompt": transcript("a", "b", "c") + "\n\nAssistant:",
            "response": " x",
            "chosen": " x",
            "rejected": " y",
        },
        [PreferenceRecord(LONG, XY, Ranking((1, 2)))],
    ),
    (
        "open-assistant-rows",
        {
            "message_id": "m",
            "parent_id": None,
            "user_id": "u",
            "text": "q",
            "role": "prompter",
            "lang": "en",
            "review_count": 3,
            "review_result": True,
            "deleted": False,
            "rank": None,
            "synthetic": False,
            "model_name": None,
            "detoxify": {"toxicity": 0.0},
            "message_tree_id": "m",
            "tree_state": "ready_for_export",
            "emojis": {"name": ["+1"], "count": [1]},
            "labels": {"name": ["quality"], "value": [0.75], "count": [3]},
        },
        [PromptRecord(Q, "m")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "records"), CASES)
def test_row_is_detected_and_read(name: str, row: dict[str, Any], records: list[Record]) -> None:
    assert formats.detect([json.dumps(row).encode()]) == name
    assert read(row) == records


@pytest.mark.parametrize(
    ("is_safe", "safer", "ratings"),
    [
        ((True, False), 0, (4, 1)),
        ((True, True), 1, (3, 4)),
        ((False, False), 0, (2, 1)),
        ((False, True), None, (1, 4)),
        ((None, None), 1, (2, 3)),
    ],
)
def test_safety_is_rated_whatever_helpfulness_says(
    is_safe: tuple[Any, Any], safer: int | None, ratings: tuple[int, int]
) -> None:
    flags = {f"is_response_{n}_safe": value for n, value in enumerate(is_safe)}
    _, rated = read(safe_rlhf(**flags, safer_response_id=safer))
    assert isinstance(rated, ComparisonRecord)
    assert rated.votes[0].ratings == {"safety": ratings}


def test_safety_stays_where_helpfulness_was_not_judged() -> None:
    (rated,) = read(safe_rlhf(better_response_id=None))
    assert isinstance(rated, ComparisonRecord)


def test_overall_preference_is_one_vote_where_the_annotators_are_missing() -> None:
    (record,) = read(helpsteer3(individual_preference=[]))
    assert isinstance(record, ComparisonRecord)
    assert record.votes == (vote(2, 1, strength=Strength.SLIGHT),)


def test_label_studio_ranker_of_an_annotation() -> None:
    items = [{"id": "i", "body": "x"}, {"id": "j", "body": "y"}]
    row = annotation(items=items, preference=[{"ranker": {"rank": ["j", "i"]}}])
    assert read(row) == [PreferenceRecord(Q, XY, Ranking((2, 1)), "4", source_id="12")]


@pytest.mark.parametrize(
    "prompt",
    [
        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
        "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: ",
    ],
)
@pytest.mark.parametrize("more", [{}, {"completion": "d"}, {"completion": "d", "label": True}])
def test_transcript_in_a_prompt_is_its_turns(prompt: str, more: dict[str, Any]) -> None:
    (record,) = read({"prompt": prompt, **more})
    assert not isinstance(record, Rejected)
    assert record.messages == LONG


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": transcript("q", "x"), "rejected": transcript("q", "y")},
        {"prompt": "q", "chosen": "x", "rejected": "y"},
        {"instruction": "q", "chosen": "x", "rejected": "y"},
        {"prompt": transcript("q") + "\n\nAssistant:", "chosen": " x", "rejected": " y"},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "x"},
            "rejected": {"from": "gpt", "value": "y"},
        },
        {
            "input": {"messages": [{"role": "user", "content": "q"}]},
            "preferred_output": [{"role": "assistant", "content": "x"}],
            "non_preferred_output": [{"role": "assistant", "content": "y"}],
        },
        {"input_text": "q", "candidate_0": "x", "candidate_1": "y", "choice": 0},
    ],
)
def test_margin_is_kept_by_every_format_of_pairs(row: dict[str, Any]) -> None:
    (record,) = read({**row, "margin": 1.5})
    assert isinstance(record, PreferenceRecord)
    assert (record.messages, record.margin) == (Q, 1.5)


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("score_chosen", "score_rejected"),
        ("chosen_score", "rejected_score"),
        ("chosen-rating", "rejected-rating"),
    ],
)
def test_scores_of_both_sides_are_a_margin(chosen: str, rejected: str) -> None:
    (record,) = read({"prompt": "q", "chosen": "x", "rejected": "y", chosen: 8.5, rejected: 7.0})
    assert isinstance(record, PreferenceRecord)
    assert record.margin == 1.5


def test_judgments_beside_a_ranking_are_named_among_the_rejects() -> None:
    results = [
        {"type": "pairwise", "value": {"selected": "left"}},
        {"type": "rating", "from_name": "fluency", "value": {"rating": 2}},
    ]
    task = {
        "data": {"prompt": "q", "answer1": "x", "answer2": "y"},
        "annotations": [{"completed_by": 1, "result": results}],
    }
    preference, rejected = read(task)
    assert isinstance(preference, PreferenceRecord)
    assert isinstance(rejected, Rejected)
    assert (rejected.line, rejected.reason) == (1, "the rating fluency is not supported")
    assert rejected.raw


def test_two_sources_of_one_text_stay_two() -> None:
    row = {
        "instruction": "q",
        "completions": [
            {"model": "m1", "output": "x"},
            {"model": "m2", "output": "x"},
            {"model": "m3", "output": "y"},
        ],
    }
    (record,) = read(row)
    assert [c.source for c in getattr(record, "completions", ())] == ["m1", "m2", "m3"]
    ranking = PreferenceRecord(Q, (*ARENA, CompletionText("x", "m3")), Ranking((1, 2, 3)))
    assert [c.source for c in ranking.candidates] == ["m1", "m2", "m3"]


@pytest.mark.parametrize(
    "row", [battle(response_b='["x"]'), helpsteer3(1, response2="x"), safe_rlhf(response_1="x")]
)
def test_judgment_between_equal_texts_is_a_reject_with_the_reason(row: dict[str, Any]) -> None:
    assert reason(row) in (
        "all completions have the same text",
        "chosen and rejected are the same",
    )


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (battle(winner_tie=1), "one of winner_model_a, winner_model_b, winner_tie must be 1"),
        (battle(response_a="[null]"), "'response_a' must be a JSON list of texts"),
        (battle(response_a="oops"), "'response_a' must be a JSON list of texts"),
        (battle(response_a='["x", "z"]'), "'prompt' has 1 turns and 'response_a' 2"),
        (helpsteer3(4), "'score' must be -3 to 3, or -100, not 4"),
        (safe_rlhf(better_response_id=2), "'better_response_id' must be 0 or 1, not 2"),
        (
            safe_rlhf(is_response_0_safe=False, is_response_1_safe=True),
            "'safer_response_id' names the response that is not safe",
        ),
        (
            {"conversations": [{"from": "observation", "value": "q"}]},
            "turn 1 is from 'observation'; only turns of human and gpt are supported",
        ),
        ({"prompt": "q", "completion": "x", "label": "good"}, "'label' must be true or false"),
        (
            {"messages": [{"role": "user", "content": "q"}], "label": True},
            "does not end with a completion to label",
        ),
        (annotation(fluency=[{"rating": 3}]), "'fluency.rating' holds a score"),
        (
            {
                "prompt": transcript("q") + "\n\nAssistant:",
                "chosen": " x",
                "rejected": " y",
                "response": "z",
            },
            "'response' is neither the chosen nor the rejected text",
        ),
    ],
)  # fmt: skip
def test_row_that_cannot_be_read_says_why(row: dict[str, Any], why: str) -> None:
    assert why in reason(row)


def test_result_without_its_prompt_is_a_reject() -> None:
    (record,) = formats.read([b'{"prediction": "x"}'], "vertex-results")
    assert isinstance(record, Rejected)
    assert record.reason == "the row has no 'inputs'"
