"""Replies about single responses are read or refused with the reason; two make one verdict."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judges import single_verdicts
from app.domain.judges.prompts import Rubric
from app.domain.judges.single_verdicts import ShownRatings, ShownThumb
from app.errors import Invalid

RUBRIC = Rubric(criteria=(("kind", "Is it polite?"), ("true", "")), rating_max=5)


def test_ratings_are_read_in_the_order_of_the_criteria() -> None:
    found = single_verdicts.read_ratings(
        'Well: {"explanation": "ok", "ratings": {"true": 2.0, " kind ": 5}}', RUBRIC
    )
    assert list(found.ratings.items()) == [("kind", 5), ("true", 2)]
    assert found.explanation == "ok"


@pytest.mark.parametrize(
    ("ratings", "problem"),
    [
        ('{"kind": 5}', "nothing is rated on 'true'"),
        ('{"kind": 5, "true": 2, "brief": 1}', "criteria rated here: kind, true; not 'brief'"),
        ('{"kind": 6, "true": 2}', "a rating is 1 to 5, not 6, on 'kind'"),
        ('{"kind": 0, "true": 2}', "a rating is 1 to 5, not 0, on 'kind'"),
        ('{"kind": 4.5, "true": 2}', "whole number from 1 to 5, not '4.5', on 'kind'"),
        ('{"kind": true, "true": 2}', "whole number from 1 to 5, not 'True', on 'kind'"),
        ('{"kind": "high", "true": 2}', "whole number from 1 to 5, not 'high', on 'kind'"),
        ("[5, 2]", "must be an object by criterion"),
    ],
)
def test_ratings_that_leave_the_form_are_refused_with_the_reason(
    ratings: str, problem: str
) -> None:
    with pytest.raises(Invalid, match=problem):
        single_verdicts.read_ratings(f'{{"ratings": {ratings}}}', RUBRIC)


@pytest.mark.parametrize(
    ("said", "thumb"),
    [('"up"', "up"), ('"Thumbs_Down."', "down"), ('"maybe"', None), ("true", None), ("null", None)],
)
def test_a_thumb_is_up_or_down(said: str, thumb: str | None) -> None:
    reply = f'{{"explanation": "ok", "thumb": {said}}}'
    if thumb is None:
        with pytest.raises(Invalid, match="thumb must be up or down, not"):
            single_verdicts.read_thumb(reply)
    else:
        assert single_verdicts.read_thumb(reply).thumb == thumb


def asked(*ratings: tuple[int, int]) -> list[Any]:
    """Return both replies about each response."""
    return [
        ((position,), ShownRatings({"kind": value}))
        for position, both in enumerate(ratings)
        for value in both
    ]


@pytest.mark.parametrize(
    ("ratings", "rating_max", "combined", "is_consistent"),
    [
        (((4, 4), (1, 1)), 5, (4, 1), True),
        (((4, 5), (1, 2)), 5, (4, 2), True),  # halves go to the middle
        (((2, 3), (3, 4)), 5, (3, 3), True),
        (((2, 3), (1, 2)), 4, (2, 2), True),  # of which 2.5 is the middle
        (((2, 4), (5, 5)), 5, (3, 5), False),
    ],
)
def test_two_replies_are_averaged_towards_the_middle_and_may_differ_by_one_point(
    ratings: Any, rating_max: int, combined: tuple[int, ...], is_consistent: bool
) -> None:
    found = single_verdicts.combined_ratings(asked(*ratings), rating_max)
    assert (found.ratings, found.is_consistent) == ({"kind": combined}, is_consistent)


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4))
def test_which_reply_comes_first_does_not_matter(ratings: list[tuple[int, int]]) -> None:
    other = [both[::-1] for both in ratings]
    found = single_verdicts.combined_ratings(asked(*ratings), 7)
    assert found == single_verdicts.combined_ratings(asked(*other), 7)
    # Turning the scale upside down turns the ratings with it, but for a half in the very middle.
    turned = single_verdicts.combined_ratings(asked(*((8 - a, 8 - b) for a, b in ratings)), 7)
    assert [8 - value for value in turned.ratings["kind"]] == list(found.ratings["kind"])


def test_thumbs_that_contradict_each_other_are_no_thumb() -> None:
    up, down = ((0,), ShownThumb("up")), ((0,), ShownThumb("down"))
    agreed, apart = (single_verdicts.combined_thumb([up, other]) for other in (up, down))
    assert (agreed.thumb, agreed.is_consistent) == ("up", True)
    assert (apart.thumb, apart.is_consistent) == (None, False)
