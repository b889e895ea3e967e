"""A person's own names for columns: renamed before detection, and refused where they do not fit."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from app import formats
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import column_mapping, registry
from app.formats.preview import preview
from app.formats.records import (
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Rejected,
    Turn,
    UnpairedRecord,
)

Q = (Turn("user", "q"),)
XY = (CompletionText("x"), CompletionText("y"))
PAIR = {"prompt": "question", "chosen": "good", "rejected": "bad"}


@pytest.mark.parametrize(
    "data",
    [
        b'{"question": "q", "good": "x", "bad": "y"}',
        b'[{"question": "q", "good": "x", "bad": "y"}]',
        b"Question,Good,Bad\nq,x,y\n",
        b"question;good;bad\nq;x;y\n",
    ],
)
def test_columns_are_renamed_before_the_format_is_told(data: bytes) -> None:
    (record,) = formats.read([data], mapping=PAIR)
    assert record == PreferenceRecord(Q, XY, Ranking((1, 2)))
    assert registry.detect(data.strip(b"[]").splitlines(), mapping=PAIR) == "trl"


def test_columns_may_change_places() -> None:
    row = b'{"prompt": "a", "completion": "q"}'
    (record,) = formats.read([row], mapping={"prompt": "completion", "completion": "prompt"})
    assert record == DemonstrationRecord(Q, "a")


def test_ignored_columns_are_left_out_and_the_rest_stays() -> None:
    row = json.dumps({"prompt": "q", "label": "math", "score": 1, "topic": "t"}).encode()
    for given in (["label", "score"], ["Label", "SCORE"]):
        (record,) = formats.read([row], mapping={"ignore": given})
        assert record == PromptRecord(Q, meta={"topic": "t"})
    (rejected,) = formats.read([row], mapping={"ignore": "label"})
    assert isinstance(rejected, Rejected)
    assert "'score' holds a score" in rejected.reason


@pytest.mark.parametrize(
    ("mapping", "why"),
    [
        ({"promt": "question"}, "no field 'promt' to map to; did you mean prompt"),
        ({"good": "prompt"}, "a mapping is written field=column: prompt=good"),
        (
            {"prompt": "frage"},
            "the file has no column 'frage'; its columns are question, good, bad",
        ),
        ({"ignore": ["frage"]}, "the file has no column 'frage'"),
        ({"prompt": "question", "chosen": "question"}, "names the column 'question' twice"),
        ({"prompt": "question", "ignore": ["question"]}, "names the column 'question' twice"),
        ({"prompt": ["question", "good"]}, "gives the field 'prompt' more than one column"),
    ],
)
def test_mapping_that_does_not_fit_is_refused(mapping: Mapping[str, Any], why: str) -> None:
    with pytest.raises(Invalid) as caught:
        formats.read([b'{"question": "q", "good": "x", "bad": "y"}'], mapping=mapping)
    assert why in str(caught.value)


def test_field_that_another_column_has_is_refused_in_the_file_and_in_a_row() -> None:
    mapping = {"prompt": "question"}
    why = "gives the column 'question' the name 'prompt', which another column has"
    with pytest.raises(Invalid, match=why):
        formats.read([b'{"question": "q", "prompt": "p"}'], mapping=mapping)
    (record,) = formats.read(
        [b'{"question": "q", "prompt": "p"}'], mapping={**mapping, "ignore": ["prompt"]}
    )
    assert record == PromptRecord(Q)
    rows = b'{"question": "q"}\n' * 30 + b'{"question": "q", "prompt": "p"}\n'
    *_, last = formats.read([rows], mapping=mapping)
    assert isinstance(last, Rejected)
    assert why in last.reason


def test_row_without_a_mapped_column_is_told_so() -> None:
    first, second = formats.read(
        [b'{"question": "q"}\n{"other": "q"}\n'], mapping={"prompt": "question"}
    )
    assert first == PromptRecord(Q)
    assert isinstance(second, Rejected)
    assert second.reason == "the row has no 'messages' or 'prompt'"


TABLE = b"prompt;response_a;response_b;winner\nq;x;y;A besser\nq;x;z;b BESSER \nq;x;w;gleich\n"


def test_values_of_judgments_are_mapped_regardless_of_capitals() -> None:
    mapping = column_mapping.parse(["value=A besser=a", "value = B besser = b"])
    assert mapping == {"value": ["A besser=a", "B besser = b"]}
    records = list(formats.read([TABLE], mapping=mapping))
    ranks = [one.ranking for one in records if isinstance(one, PreferenceRecord)]
    assert ranks == [Ranking((1, 2)), Ranking((2, 1)), Ranking((1, 1))]
    rejected = [one for one in formats.read([TABLE]) if isinstance(one, Rejected)]
    assert len(rejected) == 2
    assert "value=A wins=a" in rejected[0].reason


def test_labels_and_choices_are_mapped_to_what_their_fields_hold() -> None:
    row = b'{"prompt": "q", "completion": "x", "label": "gut"}'
    (record,) = formats.read([row], mapping={"value": ["gut=true", "schlecht=false"]})
    assert isinstance(record, UnpairedRecord)
    assert record.label is True
    row = b'{"input_text": "q", "candidate_0": "x", "candidate_1": "y", "choice": "rechts"}'
    (chosen,) = formats.read([row], mapping={"value": "rechts=1"})
    assert isinstance(chosen, PreferenceRecord)
    assert chosen.ranking == Ranking((2, 1))


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["value=A besser"], "a value is mapped as value=A wins=a, not value=A besser"),
        (["value=A==", "value=b=a"], "a value is mapped as"),
        (["value=x=a", "value=X=b"], "the mapping gives the value 'X' two meanings"),
    ],
)
def test_a_value_without_a_meaning_or_with_two_is_refused(texts: list[str], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        list(formats.read([TABLE], mapping=column_mapping.parse(texts)))


def test_the_preview_names_values_that_are_not_there() -> None:
    (file,) = preview([TABLE], mapping={"value": ["A besser=a", "C besser=b"]})
    assert "No judgment of the first rows has the mapped value 'c besser'." in file.expected
