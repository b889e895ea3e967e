"""Conversation of conversation trees, a row each, in any order and in bounded memory."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import formats
from app.domain.ranking import Ranking
from app.formats import open_assistant_rows, registry
from app.formats.open_assistant_rows import Trees
from app.formats.records import (
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    Turn,
)


def message(name: str, parent: str | None, text: str, **more: Any) -> dict[str, Any]:
    depth = 0 if parent is None else parent.count(".") + 1
    return {
        "message_id": name,
        "parent_id": parent,
        "message_tree_id": name.split(".")[0],
        "text": text,
        "role": ("prompter", "assistant")[depth % 2],
        "rank": None,
        **more,
    }


def read(rows: list[dict[str, Any]]) -> list[tuple[int, Record | Rejected]]:
    return list(registry.numbered([b"\n".join(json.dumps(row).encode() for row in rows)]))


TREE = [
    message("t", None, "q"),
    message("t.1", "t", "good", rank=0, model_name="m"),
    message("t.2", "t", "poor", rank=1),
    message("t.1.1", "t.1", "q2"),
    message("t.1.1.1", "t.1.1", "a2"),
]
Q = (Turn("user", "q"),)
Q2 = (*Q, Turn("assistant", "good"), Turn("user", "q2"))
RECORDS = [
    (
        1,
        PreferenceRecord(
            Q, (CompletionText("good", "m"), CompletionText("poor")), Ranking((1, 2)), source_id="t"
        ),
    ),
    (1, DemonstrationRecord(Q, "good", "t")),
    (4, DemonstrationRecord(Q2, "a2", "t.1.1")),
]


def test_ranks_are_preferences_and_the_best_a_demonstration() -> None:
    assert read(TREE) == RECORDS


@given(st.permutations(range(len(TREE))), st.booleans())
def test_order_of_the_rows_does_not_matter(order: list[int], with_tree: bool) -> None:
    rows = [TREE[at] for at in order]
    if not with_tree:  # then a parent must come first
        rows = [{key: row[key] for key in row if key != "message_tree_id"} for row in TREE]
    found = [record for _, record in read(rows)]
    assert not any(isinstance(record, Rejected) for record in found)
    texts = [getattr(record, "response", "") for record in found]
    assert sorted(texts) == ["", "a2", "good"]


def test_rows_messages_trees_and_records_add_up() -> None:
    rows = [*TREE, message("t.3", "gone", "x"), message("t.4", "t", "x", deleted=True)]
    notes: list[str] = []
    data = "\n".join(map(json.dumps, rows)).encode()
    found = list(registry.outcomes([data], "open-assistant-rows", notes=notes))
    records = sum(not isinstance(outcome, Rejected) for _, outcome in found)
    rejected = len(found) - records
    messages = len(rows) - 1  # the deleted one is none
    assert notes == [
        f"{len(rows)} rows: {messages} messages in 1 tree, read as {records} records; "
        f"{rejected} rejected."
    ]


def test_rows_and_trees_say_the_same() -> None:
    def node(row: dict[str, Any]) -> dict[str, Any]:
        replies = [node(other) for other in TREE if other["parent_id"] == row["message_id"]]
        return {**row, "replies": replies}

    tree = {"message_tree_id": "t", "prompt": node(TREE[0])}
    assert [r for _, r in read([tree])] == [record for _, record in RECORDS]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (message("t.3", "t", "x", deleted=True), "the message was deleted"),
        (message("t.3", "t", "x", review_result=False), "the message did not pass review"),
        (
            message("t.3", "gone", "x"),
            "a message before it in its tree was left out, or is too far away",
        ),
        (message("t.1", "t", "x"), "the file contains message t.1 twice"),
        (message("u", None, "x", role="assistant"), "a reply must name its parent"),
        (message("u", None, "x", role="system"), "'role' must be prompter or assistant"),
        (message("u", None, ""), "turn 1 of the prompt is empty"),
        (message("t.3", "t", "x", score=3), "'score' holds a score"),
    ],
)
def test_message_that_is_left_out_is_rejected_with_its_line(row: dict[str, Any], why: str) -> None:
    found = read([*TREE, row])
    rejects = [(n, r) for n, r in found if isinstance(r, Rejected)]
    assert [(n, r.line) for n, r in rejects] == [(6, 6)]
    assert why in rejects[0][1].reason
    assert json.loads(rejects[0][1].raw) == row
    assert [pair for pair in found if not isinstance(pair[1], Rejected)] == RECORDS


def test_replies_of_a_deleted_message_are_rejected_too() -> None:
    found = read([message("t", None, "q", deleted=True), *TREE[1:3]])
    assert [n for n, r in found if isinstance(r, Rejected)] == [1, 2, 3]


def test_more_replies_than_a_ranking_holds_are_named() -> None:
    replies = [message(f"t.{n}", "t", f"a{n}", rank=n) for n in range(11)]
    (line, rejected), (_, ranking), _ = read([TREE[0], *replies])
    assert isinstance(rejected, Rejected)
    assert (line, rejected.line) == (1, 1)
    assert rejected.reason == ("the last 2 of 11 ranked replies are left out; a ranking holds 9")
    assert isinstance(ranking, PreferenceRecord)
    assert len(ranking.candidates) == 9


@pytest.mark.parametrize(("most_held", "most_bytes"), [(10, 5000), (1000, 1000)])
def test_no_more_messages_wait_than_the_limits(most_held: int, most_bytes: int) -> None:
    trees = Trees(most_held, most_bytes)
    outcomes: list[Any] = []
    for n in range(1000):
        outcomes += trees.read(n, message(f"t{n}", None, "q"))
        assert len(trees.tree_names) <= 10
        assert trees.size_bytes <= 5000
    outcomes += trees.end()
    assert [number for number, _ in outcomes] == list(range(1000))
    assert not trees.trees


def test_tree_that_grew_too_large_gives_what_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_assistant_rows.Trees.__init__, "__defaults__", (3, 10**6))
    found = read([*TREE, message("u", None, "q")])
    kinds = [type(record) for _, record in found]
    assert kinds.count(Rejected) == 1
    assert kinds.count(PromptRecord) == 2


def test_file_is_read_as_it_comes() -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield json.dumps(message(f"t{taken}", None, "q")).encode() + b"\n"

    next(formats.read(chunks()))
    assert taken <= open_assistant_rows.MOST_HELD + 50
