"""A judgment in a field that nothing reads makes the row a reject, never something else."""

import json
from typing import Any

import pytest

from app import formats
from app.errors import Invalid
from app.formats import column_mapping, unused_signals
from app.formats.format import Format, has
from app.formats.known_formats import FORMATS
from app.formats.records import (
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    UnpairedRecord,
)

ROW = {"prompt": "q", "response": "a"}
PLAIN = Format("plain", "plain", has("prompt"), lambda row: [], fields=("prompt", "extra.up"))


def read(row: dict[str, Any], name: str | None = None) -> list[Record | Rejected]:
    return list(formats.read([json.dumps(row).encode()], name))


@pytest.mark.parametrize(
    "name",
    [
        *("chosen", "rejected", "preferred", "preference", "label", "labels", "score", "scores"),
        *("rating", "ratings", "rank", "winner", "choice", "better_response_id", "margin"),
        *("safer_response_id", "is_response_0_safe", "helpfulness", "overall_score", "vote"),
        *("votes", "reward", "Label", "overallScore", "chosen-rating", "SCORE", "thumbs_up"),
        *("winner_model_a", "preference_strength", "toxicity", "is_safe", "score_0", "kto_tag"),
    ],
)
def test_field_that_carries_a_judgment_is_known_by_its_name(name: str) -> None:
    assert unused_signals.kind_of(name)
    (rejected,) = read({**ROW, name: 1}, "prompts")
    assert isinstance(rejected, Rejected)
    assert repr(name) in rejected.reason


@pytest.mark.parametrize(
    "name",
    [
        *("prompt", "completion", "category", "source", "weight", "ok", "labeler", "choices"),
        *("topic", "language", "split", "id", "model", "ranked_by", "difficulty", "bestiary"),
    ],
)
def test_other_fields_are_notes(name: str) -> None:
    assert unused_signals.kind_of(name) is None


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_field_without_a_value_says_nothing(empty: object) -> None:
    assert isinstance(read({**ROW, "label": empty}, "prompts")[0], DemonstrationRecord)


@pytest.mark.parametrize("value", [False, 0, "no", [0.5], {"a": 1}])
def test_value_that_is_false_or_zero_says_something(value: object) -> None:
    assert isinstance(read({**ROW, "label": value}, "prompts")[0], Rejected)


def test_reason_names_the_field_the_rule_and_the_remedy() -> None:
    (rejected,) = read({**ROW, "label": "bad"}, "prompts")
    assert isinstance(rejected, Rejected)
    assert rejected.reason == (
        "'label' holds a label that the format 'prompts' does not use, and a row is not read "
        "without its judgment: map 'label' to a field that is used, name another format, or "
        "ignore the field in the mapping"
    )
    assert json.loads(rejected.raw)["label"] == "bad"


def test_judgment_inside_objects_and_lists_is_found() -> None:
    row = {"prompt": "q", "completions": [{"text": "x", "score": 0.9}, {"text": "y", "score": 0.1}]}
    (rejected,) = read(row)
    assert isinstance(rejected, Rejected)
    assert "'completions.score' holds a score" in rejected.reason


@pytest.mark.parametrize(
    "row", [{"votes": 1}, {"votes": {"down": {"rank": 1}}}, {"a": {"rank": 1}}]
)
def test_what_is_beside_the_fields_that_are_read_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        unused_signals.check(row, PLAIN)


@pytest.mark.parametrize("row", [{"prompt": {"rank": 1}}, {"extra": {"up": {"rank": 1}}}])
def test_a_path_covers_what_lies_under_it(row: dict[str, Any]) -> None:
    unused_signals.check(row, PLAIN)


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_ignored_fields_are_not_read_and_have_a_reason(known: Format) -> None:
    assert known.fields
    for path, reason in known.ignores.items():
        assert reason
        assert not unused_signals.covers(known.fields, path)


# Rows that came in as something else before.
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"prompt": "q", "completion": "a", "label": false}', UnpairedRecord),
        (b'{"prompt": "q", "response": "a", "label": false}', UnpairedRecord),
        (b'{"prompt": "q", "completion": "a", "label": 0}', UnpairedRecord),
        (b"prompt,completion,label\nq,a,False\n", UnpairedRecord),
        (b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],'
         b' "label": false}', UnpairedRecord),
        (b'{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],'
         b' "kto_tag": false}', UnpairedRecord),
        (b"prompt,chosen,rejected\nq,x,y\n", PreferenceRecord),
        (b"prompt\tchosen\trejected\nq\tx\ty\n", PreferenceRecord),
    ],
)  # fmt: skip
def test_label_or_preference_is_read_as_what_it_is(data: bytes, kind: type[Record]) -> None:
    (record,) = formats.read([data])
    assert isinstance(record, kind)
    if isinstance(record, UnpairedRecord):
        assert record.label is False


@pytest.mark.parametrize(
    "data",
    [
        b'{"prompt": "q", "completion": "a", "label": "math"}',
        b'{"prompt": "q", "completion": "a", "quality": 1}',
        b'{"instruction": "q", "output": "a", "rating": 1}',
        b'{"input_text": "q", "label": 1}',
        b'{"dialogue": "q", "summary": "s", "score": 1}',
        b"question,answer,score\nq,a,0\n",
        b'{"prompt": "q", "chosen": "x", "rejected": "y", "votes": [1, 2]}',
    ],
)
def test_judgment_that_no_format_reads_is_a_reject(data: bytes) -> None:
    (record,) = formats.read([data])
    assert isinstance(record, Rejected)


def test_ignoring_a_column_is_a_decision_and_no_silence() -> None:
    data = json.dumps({**ROW, "label": "math"}).encode()
    (record,) = formats.read([data], "prompts", mapping={"ignore": ["label"]})
    assert isinstance(record, DemonstrationRecord)
    assert "label" not in record.meta


def test_prompt_keeps_its_notes() -> None:
    (record,) = read({"prompt": "q", "difficulty": 3})
    assert isinstance(record, PromptRecord)
    assert record.meta == {"difficulty": 3}


@pytest.mark.parametrize(
    "name",
    [
        *("Gewinner", "gewählt", "Abgelehnt", "Bewertung", "bessere Antwort", "Antwort A"),
        *("Gagnant", "réponse préférée", "rejeté", "étiquette", "Réponse B"),
        *(
            "ganador",
            "elegida",
            "puntuación",
            "Respuesta 1",
            "vincitore",
            "punteggio",
            "Risposta A",
        ),
        *("vencedor", "avaliação", "Resposta 2", "winnaar", "beoordeling", "Antwoord B"),
        *("Zwycięzca", "odrzucony", "ocena", "Odpowiedź A", "response_b", "answer 2"),
    ],
)
def test_judgments_and_responses_are_known_by_their_names_in_eight_languages(name: str) -> None:
    assert unused_signals.kind_of(name)
    assert isinstance(read({"prompt": "q", name: "x"}, "prompts")[0], Rejected)


@pytest.mark.parametrize("name", ["Frage", "Antwort", "réponse", "Thema", "Notiz", "note", "nota"])
def test_other_foreign_columns_are_notes(name: str) -> None:
    assert unused_signals.kind_of(name) is None


COLUMNS = ("Antwort A", "Antwort B", "Gewinner")
SURVEY = (
    b"Frage;Antwort A;Antwort B;Gewinner\nWarum?;Darum.;Weil es so ist.;A\nWann?;Heute.;Morgen.;B\n"
)


def survey(*mapping: str) -> list[Record | Rejected]:
    return list(formats.read([SURVEY], mapping=column_mapping.parse(mapping)))


def test_mapping_of_the_prompt_alone_does_not_lose_the_preference() -> None:
    outcomes = survey("prompt=Frage")
    assert [type(outcome) for outcome in outcomes] == [Rejected, Rejected]
    assert isinstance(outcomes[0], Rejected)
    assert "ignore" in outcomes[0].reason


def test_columns_of_a_preference_are_left_out_when_the_mapping_says_so() -> None:
    outcomes = survey("prompt=Frage", *(f"ignore={name}" for name in COLUMNS))
    assert [type(outcome) for outcome in outcomes] == [PromptRecord, PromptRecord]


def test_mapping_of_two_responses_without_the_winner_names_what_is_missing() -> None:
    with pytest.raises(Invalid, match=r"'response_a' and 'response_b'.*needs 'winner' as well"):
        survey("prompt=Frage", "response_a=Antwort A", "response_b=Antwort B")


def test_whole_mapping_reads_the_preference() -> None:
    outcomes = survey(
        "prompt=Frage", "response_a=Antwort A", "response_b=Antwort B", "winner=Gewinner"
    )
    assert [type(outcome) for outcome in outcomes] == [PreferenceRecord, PreferenceRecord]


def test_numbers_stay_text_in_columns_of_responses_and_are_read_in_those_of_scores() -> None:
    file = b"prompt;Antwort A;Bewertung\nq;4;4\n"
    (row,) = formats.read([file], mapping={"ignore": ["Antwort A"], "response": "Bewertung"})
    assert isinstance(row, Rejected)
    assert "must be text, not a number" in row.reason
    (kept,) = formats.read([file], mapping={"ignore": ["Bewertung"], "response": "Antwort A"})
    assert isinstance(kept, DemonstrationRecord)
    assert kept.response == "4"
