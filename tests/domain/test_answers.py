import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.answers import Body, PickBody, RankBody, Rules, check, check_remarks, check_skip
from app.domain.ranking import Answer, Pick, Ranking, Side, Strength
from app.errors import Invalid

PICK = Rules("pick", 2)
RANK = Rules("rank", 4)


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
        (RANK, PickBody("a"), "asks for a rank"),
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
def test_an_answer_that_breaks_a_rule_is_refused(rules: Rules, body: Body, reason: str) -> None:
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
