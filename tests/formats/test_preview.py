"""What the first rows of a file would become, in plain words."""

import io
import json
import zipfile
from typing import Any

import pytest

from app import formats
from app.errors import Invalid
from app.formats.preview import FilePreview, RecordPreview


def only(*rows: dict[str, Any], **options: Any) -> FilePreview:
    data = "\n".join(map(json.dumps, rows)).encode()
    (found,) = formats.preview([data], **options)
    return found


@pytest.mark.parametrize(
    ("row", "record"),
    [
        ({"prompt": "q"}, RecordPreview(1, "prompt", ("user: q",))),
        (
            {"prompt": "q", "completion": "a"},
            RecordPreview(1, "demonstration", ("user: q",), ("a",)),
        ),
        (
            {"prompt": "q", "completions": [{"model": "m", "text": "x"}, "y"]},
            RecordPreview(1, "responses to judge", ("user: q",), ("m: x", "y")),
        ),
        (
            {"prompt": "q", "completion": "a", "label": False},
            RecordPreview(1, "label", ("user: q",), ("a",), ("bad",)),
        ),
        (
            {"prompt": "q", "chosen": "x", "rejected": "y", "margin": 0.5},
            RecordPreview(
                1, "preference", ("user: q",), ("x", "y"), ("response 1 > 2, margin 0.5",)
            ),
        ),
        (
            {"prompt": "q", "response": "x", "helpfulness": 0, "verbosity": 3},
            RecordPreview(1, "comparison", ("user: q",), ("x",), ("helpfulness 0 verbosity 3",)),
        ),
        (
            {
                "context": "q",
                "completions": ["x", "y", "z"],
                "individual_preference": [
                    {"labeler": "L1", "ranking": [1, 2, 2], "strength": 3},
                    {"labeler": "L2", "both_bad": True},
                ],
            },
            RecordPreview(
                1,
                "comparison",
                ("user: q",),
                ("x", "y", "z"),
                ("L1: response 1 > 2 = 3 (clear)", "L2: none is good"),
            ),
        ),
    ],
)
def test_record_is_told_in_words(row: dict[str, Any], record: RecordPreview) -> None:
    assert only(row).records == (record,)


def test_rejects_have_their_line_and_reason() -> None:
    found = only({"prompt": "q"}, {"prompt": ""}, {"prompt": "q", "label": 1})
    assert [(reject.line, reject.reason[:25]) for reject in found.rejects] == [
        (2, "turn 1 of the prompt is e"),
        (3, "'label' holds a label tha"),
    ]
    assert len(found.records) == 1


def test_columns_that_would_be_lost_are_named_with_the_reason() -> None:
    row = {
        "model_a": "m1",
        "model_b": "m2",
        "winner": "tie",
        "conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}],
        "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "y"}],
        "category_tag": {"math": False},
        "tstamp": 1.0,
        "nothing": None,
    }
    assert only(row).lost == {
        "category_tag": "output of classifiers, not a judgment of the responses",
        "tstamp": "the format does not use it",
    }
    assert only({"prompt": "q", "topic": "t", "extra": {"a": 1}, "score": 1}).lost == {
        "extra": "the format does not use it",
        "score": "it holds a score that the format does not use",
    }
    assert only({"prompt": "q", "score": 1}, mapping={"ignore": ["score"]}).lost == {
        "score": "the mapping puts it under 'ignore'"
    }


def test_mapping_is_tried_before_anything_is_kept() -> None:
    found = only({"frage": "q", "gut": "x"}, mapping={"prompt": "frage", "completion": "gut"})
    assert (found.format, found.title) == (
        "prompts",
        "plain prompts, alone or with a good response",
    )
    assert found.records[0].kind == "demonstration"
    with pytest.raises(Invalid, match="no field 'promt' to map to"):
        only({"frage": "q"}, mapping={"promt": "frage"})


def test_as_many_rows_as_asked_are_shown() -> None:
    rows = [{"prompt": f"q{n}"} for n in range(40)]
    assert len(only(*rows).records) == 10
    assert len(only(*rows, rows=3).records) == 3
    assert len(only(*rows, rows=30).records) == 30


def test_table_is_shown_with_its_line_numbers() -> None:
    (found,) = formats.preview([b"prompt,response\nq,a\n"])
    assert found.records == (RecordPreview(2, "demonstration", ("user: q",), ("a",)),)


def test_messages_of_a_tree_are_shown_together() -> None:
    rows: list[dict[str, Any]] = [
        {"message_id": "1", "parent_id": None, "text": "q", "role": "prompter"},
        {"message_id": "2", "parent_id": "1", "text": "a", "role": "assistant"},
    ]
    assert only(*rows).records == (RecordPreview(1, "demonstration", ("user: q",), ("a",)),)


def test_archive_has_a_preview_of_each_file() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jsonl", '{"prompt": "q"}')
        archive.writestr("b.txt", "hello")
    first, second = formats.preview([out.getvalue()])
    assert (first.file, first.format, len(first.records)) == ("a.jsonl", "prompts", 1)
    assert second.file == "b.txt"
    assert "the header needs a column `prompt`" in second.rejects[0].reason


def test_columns_that_are_kept_as_notes_or_lost_are_named() -> None:
    table = b"Frage;Antwort;Thema\nWarum?;Darum.;A\n"
    (part,) = formats.preview([table], mapping={"prompt": "Frage"})
    assert part.notes == ("antwort", "thema")
    remark, hint = part.remarks
    assert "choose the format “a prompt and a column of responses for each model”" in hint
    assert "kept as notes on the prompt, not as responses or judgments: antwort, thema" in remark
    (row,) = formats.preview([b'{"prompt": "a", "lang": "en", "list": [1]}'])
    assert ("list" in row.lost, row.notes) == (True, ("lang",))
    assert next(remark.split(":")[0] for remark in row.remarks) == "Columns that are not imported"
