import pytest

from app.domain.reward_parts import LabelerWeight
from app.errors import Invalid
from app.web import labeler_weights


@pytest.mark.parametrize(
    "text", ["L2 0.5, L3 2", "L2=0.5;L3 = 2.0", "L2: 0.5\n L3:2,", "L2 .5,L3 2."]
)
def test_weights_are_read_however_they_are_written(text: str) -> None:
    weights = labeler_weights.of_text(text)
    assert weights == (LabelerWeight("L2", 0.5), LabelerWeight("L3", 2.0))
    assert labeler_weights.to_text(weights) == "L2 0.5, L3 2"


def test_no_digit_of_a_weight_is_lost() -> None:
    weights = (LabelerWeight("L2", 1 / 3), LabelerWeight("L3", 0.00001))
    assert labeler_weights.of_text(labeler_weights.to_text(weights)) == weights
    assert labeler_weights.of_text(" ") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L2 0.5, L3", "'L3' must be a pseudonym and a weight, such as L2 0.5"),
        ("L2 0.5 L3", "'L2 0.5 L3' must be"),
        ("L2 half", "'L2 half' must be"),
        ("L2 -1", "weight of labeler L2 must be 0.0 to 100.0, not -1.0"),
        ("L2 nan", "not nan"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        labeler_weights.of_text(text)
