"""Two responses and a winner, in the words that people use."""

import pytest

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import known_formats, registry, response_pair
from app.formats.records import ComparisonRecord, PreferenceRecord

ROW = {"prompt": "Why?", "response_a": "Because.", "response_b": "It is so."}
FIRST, SECOND, TIE = Ranking((1, 2)), Ranking((2, 1)), Ranking((1, 1))


@pytest.mark.parametrize(
    ("winner", "ranking"),
    [
        *(("A", FIRST), ("1", FIRST), (1, FIRST), ("first", FIRST), ("Antwort A", FIRST)),
        *(("response_b", SECOND), ("Response 2", SECOND), ("It is so.", SECOND)),
        *(("tie", TIE), (" Same ", TIE), ("No difference", TIE)),
        *(("gleich", TIE), ("Gleich gut", TIE), ("UNENTSCHIEDEN", TIE), ("égalité", TIE)),
        *(("À égalité", TIE), ("les deux", TIE), ("empate", TIE), ("pareggio", TIE)),
        *(("parità", TIE), ("sem diferença", TIE), ("gelijk", TIE), ("bez różnicy", TIE)),
    ],
)
def test_a_winner_is_understood(winner: object, ranking: Ranking) -> None:
    (record,) = response_pair.read({**ROW, "winner": winner})
    assert isinstance(record, PreferenceRecord)
    assert record.ranking == ranking
    assert [each.text for each in record.candidates] == ["Because.", "It is so."]


@pytest.mark.parametrize(
    "winner", ["Both bad", "neither", "Beide schlecht", "aucune des deux", "ninguna", "Żadna"]
)
def test_both_bad_is_a_vote_of_its_own(winner: str) -> None:
    (record,) = response_pair.read({**ROW, "winner": winner, "annotator": "Z"})
    assert isinstance(record, ComparisonRecord)
    assert (record.votes[0].both_bad, record.votes[0].labeler) == (True, "Z")


@pytest.mark.parametrize("winner", ["0", "", "yes", "C", "nicht gleich", "A besser", None])
def test_another_word_is_refused_with_those_there_are(winner: str | None) -> None:
    with pytest.raises(Invalid, match=f"a, b, 1, 2, tie, both bad.*not '{winner}'"):
        response_pair.read({**ROW, "winner": winner})


def test_a_spreadsheet_with_its_own_columns_is_read_by_a_mapping() -> None:
    table = 'Frage;Antwort A;Antwort B;Besser\r\n"Wie, bitte?";Grün;Blau;B\r\n'.encode("utf-16")
    mapping = {
        "prompt": "Frage",
        "response_a": "Antwort A",
        "response_b": "Antwort B",
        "winner": "Besser",
    }
    ((line, record),) = registry.outcomes([table], "response-pair", mapping=mapping)
    assert (line, isinstance(record, PreferenceRecord)) == (2, True)
    assert record.messages[0].content == "Wie, bitte?"  # type: ignore[union-attr]
    assert record.ranking == SECOND  # type: ignore[union-attr]


def test_it_is_detected_in_tables_and_lines() -> None:
    assert known_formats.named("response-pair") is response_pair.FORMAT
    line = b'{"prompt": "a", "response_a": "b", "response_b": "c", "winner": "a"}'
    assert registry.detect([line]) == "response-pair"
