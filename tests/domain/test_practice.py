"""What counts as right in practice, and how a run stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judgment_kinds import PickBody, RankBody, RateBody, ThumbsBody, WriteBody
from app.domain.practice import Standing, expected, is_right
from app.domain.ranking import Ranking
from app.errors import Invalid

RANKINGS = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(Ranking.of_positions)


@pytest.mark.parametrize(
    ("given_body", "right"),
    [
        (PickBody("a"), True),
        (PickBody("a", 4), True),
        (PickBody("a", 1, both_bad=True), True),
        (PickBody("b"), False),
        (PickBody("tie"), False),
        (PickBody(None, None, both_bad=True), False),
    ],
)
def test_a_pick_is_right_on_the_side_alone(given_body: PickBody, right: bool) -> None:
    assert is_right(PickBody("a"), given_body) is right


def test_both_bad_alone_is_an_answer_of_its_own() -> None:
    settled = expected("pick", {"both_bad": True})
    assert is_right(settled, PickBody(None, None, both_bad=True))
    assert not is_right(settled, PickBody("a", None, both_bad=True))


@pytest.mark.parametrize(
    ("settled", "said", "right"),
    [
        ((1, 2, 3), (1, 2, 3), True),
        ((1, 2, 3), (1, 3, 2), False),  # two of three pairs
        ((1, 2, 3, 4), (1, 2, 4, 3), True),  # five of six pairs, the first is first
        ((1, 2, 3, 4), (2, 1, 3, 4), False),  # five of six pairs, but another is first
        ((1, 2, 3, 4), (1, 4, 3, 2), False),  # three of six pairs
        ((1, 1, 3, 4), (1, 2, 3, 4), False),  # the first place was shared
    ],
)
def test_a_ranking_is_right_by_its_first_and_three_quarters_of_its_pairs(
    settled: tuple[int, ...], said: tuple[int, ...], right: bool
) -> None:
    assert is_right(RankBody(settled), RankBody(said)) is right


@given(RANKINGS)
def test_the_settled_ranking_itself_is_right(ranking: Ranking) -> None:
    assert is_right(RankBody(ranking.ranks), RankBody(ranking.ranks))


def test_what_cannot_be_ranked_is_right_only_when_said() -> None:
    cannot = RankBody(None, both_bad=True)
    assert is_right(cannot, cannot)
    assert not is_right(cannot, RankBody((1, 2, 3)))
    assert not is_right(RankBody((1, 2, 3)), cannot)


def test_ratings_may_be_one_step_off_and_no_more() -> None:
    settled = RateBody({"tone": (3, 5), "truth": (1, 4)})
    assert is_right(settled, RateBody({"tone": (4, 4), "truth": (2, 5)}))
    assert not is_right(settled, RateBody({"tone": (3, 5), "truth": (1, 2)}))


def test_a_thumb_is_right_whatever_the_reasons() -> None:
    assert is_right(ThumbsBody("up", ("clear",)), ThumbsBody("up", ("helpful",)))
    assert not is_right(ThumbsBody("up"), ThumbsBody("down"))


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("write", {"text": "so"}), ("pick", {}), ("rank", {"preferred": "a"}), ("thumbs", {})],
)
def test_what_settles_nothing_is_refused(kind: str, answer: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        expected(kind, answer)


def test_kinds_are_not_compared_with_each_other() -> None:
    with pytest.raises(Invalid, match="cannot be compared"):
        is_right(PickBody("a"), WriteBody("a"))


@pytest.mark.parametrize(
    ("total", "share", "needed"),
    [(10, 0.7, 7), (3, 0.8, 3), (10, 0.0, 0), (1, 1.0, 1), (4, 0.5, 2)],
)
def test_the_mark_is_the_fewest_right_that_reach_the_share(
    total: int, share: float, needed: int
) -> None:
    assert Standing(1, total, 0, 0, share).needed == needed


def test_an_incomplete_run_passes_nobody() -> None:
    assert not Standing(1, 10, 9, 9, 0.5).reaches_the_mark
    assert Standing(1, 10, 10, 5, 0.5).reaches_the_mark
    assert not Standing(1, 10, 10, 4, 0.5).reaches_the_mark
    assert not Standing(1, 0, 0, 0, 0.0).reaches_the_mark


def test_a_run_says_what_is_left_and_what_comes_next() -> None:
    assert Standing(1, 10, 3, 2, 0.8).sentences == (
        "3 of 10 done, 2 right.",
        "The pass mark is 8 of 10 right.",
    )
    assert "practice again" in Standing(1, 10, 10, 7, 0.8).sentences[-1]
    assert "you have passed" in Standing(1, 10, 10, 8, 0.8, is_passed=True).sentences[-1]
    assert "you passed it before" in Standing(2, 10, 10, 7, 0.8, is_passed=True).sentences[-1]
    assert Standing(1, 10, 10, 7).sentences == ("You had 7 of 10 right.",)
