"""Labelers in a hurry: less than a quarter of the time that others take, over enough judgments."""

import pytest

from app.domain import labeler_pace
from app.domain.labeler_pace import LabelerPace

OTHERS = {2: LabelerPace(24.0, 90), 3: LabelerPace(20.0, 90), 4: LabelerPace(30.0, 90)}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (LabelerPace(1.04, 30), "takes 1 s for a judgment where others take 24 s"),
        (LabelerPace(5.99, 90), "takes 6 s for a judgment where others take 24 s"),
        (LabelerPace(0.83, 90), "takes 0.8 s for a judgment where others take 24 s"),
        (LabelerPace(6.0, 90), ""),  # a quarter, as fast people may be
        (LabelerPace(1.0, 29), ""),  # not enough yet
        (LabelerPace(120.0, 90), ""),
    ],
)
def test_who_takes_less_than_a_quarter_of_the_usual_time_is_remarked(
    own: LabelerPace, expected: str
) -> None:
    assert labeler_pace.haste({1: own, **OTHERS}, 1) == expected


def test_nobody_is_hasty_alone_or_beside_people_who_were_hardly_timed() -> None:
    assert labeler_pace.haste({1: LabelerPace(1.0, 90)}, 1) == ""
    assert labeler_pace.haste({1: LabelerPace(1.0, 90), 2: LabelerPace(60.0, 29)}, 1) == ""
    assert labeler_pace.haste(OTHERS, 1) == ""  # whose judgments have no times
    slow = {1: LabelerPace(50.0, 90), 2: LabelerPace(900.0, 90)}
    assert labeler_pace.haste(slow, 1) == "takes 50 s for a judgment where others take 15 min"
