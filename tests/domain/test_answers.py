import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judgment_kinds import (
    TEXT_MOST_BYTES,
    EditBody,
    JudgmentBody,
    PickBody,
    RankBody,
    RateBody,
    Rules,
    ThumbsBody,
    WriteBody,
    check,
)
from app.domain.ranking import Answer, Pick, Ranking, Side, Strength
from app.domain.remarks import check_remarks, check_skip
from app.errors import Invalid

PICK = Rules("pick", 2)
RANK = Rules("rank", 4)
RATE = Rules("rate", 2, rating_max=5, criteria={"right": "True?", "kind": ""})
THUMBS = Rules("thumbs", 1)
WRITE = Rules("write", 0)
EDIT = Rules("edit", 1, original="Paris")


@given(st.sampled_from(["a", "b"]), st.sampled_from([None, 1, 2, 3, 4]), st.booleans())
def test_a_pick_is_read_as_it_was_given(side: str, strength: int | None, bad: bool) -> None:
    answer = check(PICK, PickBody(side, strength, bad))
    pick = Pick(Side(side), None if strength is None else Strength(strength))
    assert answer == Answer(pick, bad)


def test_both_bad_alone_completes_a_judgment_and_prefers_nothing() -> None:
    assert check(PICK, PickBody(both_bad=True)).preferences() == ()
    assert check(RANK, RankBody(both_bad=True)).preferences() == ()


@given(st.permutations([1, 2, 3, 4]))
def test_a_ranking_keeps_its_positions(ranks: list[int]) -> None:
    assert check(RANK, RankBody(tuple(ranks))).order == Ranking(tuple(ranks))


@pytest.mark.parametrize(
    ("rules", "body", "reason"),
    [
        (PICK, RankBody((1, 2)), "asks for a pick"),
        (RANK, PickBody("a"), "asks for a ranking, not a pick"),
        (PICK, PickBody(), "not complete"),
        (RANK, RankBody(), "not complete"),
        (PICK, PickBody("left"), "a, b or tie"),
        (PICK, PickBody("a", 5), "strengths offered"),
        (PICK, PickBody("tie", 2), "a tie has no strength"),
        (PICK, PickBody(None, 2), "nothing is preferred"),
        (RANK, RankBody((1, 2, 3)), "3 places for 4"),
        (RANK, RankBody((1, 2, 2, 3)), "must be written"),
        (RANK, RankBody((1, 2, 3, 4), both_bad=True), "cannot be ranked"),
        (Rules("pick", 2, allow_tie=False), PickBody("tie"), "not offer a tie"),
        (Rules("rank", 3, allow_tie=False), RankBody((1, 1, 3)), "not offer ties"),
        (Rules("pick", 2, allow_both_bad=False), PickBody("a", both_bad=True), "both bad"),
        (Rules("pick", 2, strength_steps=0), PickBody("a", 2), "none"),
        (Rules("pick", 2, strength_steps=2), PickBody("a", 4), "2, 3"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_refused(
    rules: Rules, body: JudgmentBody, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        check(rules, body)


@given(st.tuples(*[st.tuples(st.integers(1, 5), st.integers(1, 5))] * 2))
def test_ratings_are_read_as_they_were_given_in_the_order_of_the_criteria(
    given: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    right, kind = given
    ratings = check(RATE, RateBody({"kind": kind, "right": right})).ratings
    assert ratings is not None
    assert list(ratings.items()) == [("right", right), ("kind", kind)]


def test_a_thumb_keeps_the_reasons_that_were_ticked() -> None:
    answer = check(THUMBS, ThumbsBody("down", ("unsafe", "wrong")))
    assert (answer.thumb, answer.reasons) == ("down", ("wrong", "unsafe"))
    assert check(THUMBS, ThumbsBody("up")).is_complete


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and "\0" not in text))
def test_a_text_is_kept_to_the_letter(text: str) -> None:
    assert check(WRITE, WriteBody(text)).text == text
    if text != "Paris":
        assert check(EDIT, EditBody(text)).text == text


@pytest.mark.parametrize(
    ("rules", "body", "reason"),
    [
        (RATE, ThumbsBody("up"), "asks for ratings, not a thumb"),
        (RATE, RateBody({"right": (1, 2)}), "nothing is rated on 'kind'"),
        (RATE, RateBody({"right": (1, 2), "kind": (1,)}), "1 ratings for 2 completions"),
        (RATE, RateBody({"right": (1, 6), "kind": (1, 1)}), "1 to 5, not 6"),
        (RATE, RateBody({"right": (0, 1), "kind": (1, 1)}), "1 to 5, not 0"),
        (RATE, RateBody({"right": (1, 1), "kind": (1, 1), "old": (1, 1)}), "not 'old'"),
        (Rules("rate", 2), RateBody({}), "no criteria"),
        (THUMBS, ThumbsBody("sideways"), "up or down, not 'sideways'"),
        (THUMBS, ThumbsBody("up", ("wrong",)), "reason for up"),
        (WRITE, WriteBody(" \n"), "empty"),
        (WRITE, WriteBody("a\0b"), "NUL"),
        (WRITE, EditBody("x"), "asks for a text, not an edit"),
        (EDIT, EditBody("Paris"), "the completion's own"),
        (EDIT, EditBody("é" * (TEXT_MOST_BYTES // 2 + 1)), "at most 65536 bytes, not 65538"),
    ],
)
def test_an_answer_of_another_kind_that_breaks_a_rule_is_refused(
    rules: Rules, body: JudgmentBody, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        check(rules, body)


def test_unknown_flags_reasons_and_endless_comments_are_refused() -> None:
    check_remarks(("unsafe",), "fine")
    with pytest.raises(Invalid, match="flag"):
        check_remarks(("rude",), "")
    with pytest.raises(Invalid, match="characters"):
        check_remarks((), "x" * 10_001)
    with pytest.raises(Invalid, match="reason"):
        check_skip("bored")
