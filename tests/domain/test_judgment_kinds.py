import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judgment_kinds import (
    KINDS,
    TEXT_MOST_BYTES,
    EditBody,
    JudgmentBody,
    JudgmentKind,
    PickBody,
    RankBody,
    RateBody,
    Rules,
    ThumbsBody,
    WriteBody,
    check,
    check_k,
    kind_named,
)
from app.domain.ranking import Ranking
from app.domain.remarks import check_remarks, check_skip
from app.errors import Invalid

PICK = Rules("pick", 2)
RANK = Rules("rank", 4)
RATE = Rules("rate", 2, rating_max=5, criteria={"right": "True?", "kind": ""})
THUMBS = Rules("thumbs", 1)
WRITE = Rules("write", 0)
EDIT = Rules("edit", 1, original="Paris")


BODIES = [
    PickBody("a", 3),
    PickBody(None, None, both_bad=True),
    RankBody((2, 1, 2)),
    RankBody(None, both_bad=True),
    RateBody({"kind": (1, 2), "right": (5, 4)}),
    ThumbsBody("down", ("wrong", "unclear")),
    WriteBody("One\nTwo"),
    EditBody("Better."),
]


def test_every_kind_has_a_row_under_its_own_name() -> None:
    assert list(KINDS) == list(JudgmentKind)
    assert all(KINDS[name].body.kind == name for name in KINDS)
    assert {body.kind for body in BODIES} == set(KINDS)


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_a_body_survives_the_way_to_json_and_back(body: JudgmentBody) -> None:
    assert KINDS[body.kind].body.from_json(body.to_json()) == body


def test_the_properties_of_the_kinds() -> None:
    def those(what: str) -> list[str]:
        return [name for name, kind in KINDS.items() if getattr(kind, what)]

    assert those("is_ordering") == ["pick", "rank"]
    assert those("is_written") == ["write", "edit"]
    assert those("is_preferred_text") == ["edit"]
    assert those("uses_criteria") == ["rate"]
    assert those("has_right_answer") == ["pick", "rank", "rate", "thumbs"]
    assert those("judges_completions") == ["pick", "rank", "rate", "thumbs", "edit"]
    assert those("shows_several") == ["pick", "rank", "rate"]
    pairs = {name: kind.implies_pairs(1) for name, kind in KINDS.items()}
    assert [name for name, implied in pairs.items() if implied] == ["edit"]


def test_an_unknown_kind_and_a_number_that_it_does_not_allow_are_refused() -> None:
    assert kind_named("rank") is JudgmentKind.RANK
    with pytest.raises(Invalid, match=r"the kind must be one of pick, rank.*, not 'nonsense'"):
        kind_named("nonsense")
    check_k(JudgmentKind.RANK, 9)
    with pytest.raises(Invalid, match="kind rank takes 2 to 9 completions, not 10"):
        check_k(JudgmentKind.RANK, 10)
    with pytest.raises(Invalid, match="kind pick takes 2 completions, not 3"):
        check_k(JudgmentKind.PICK, 3)


@given(st.sampled_from(["a", "b"]), st.sampled_from([None, 1, 2, 3, 4]), st.booleans())
def test_a_pick_is_stored_as_it_was_given(side: str, strength: int | None, bad: bool) -> None:
    body = PickBody(side, strength, bad)
    assert check(PICK, body) == body


def test_both_bad_alone_completes_a_judgment() -> None:
    assert check(PICK, PickBody(both_bad=True)) == PickBody(both_bad=True)
    assert check(RANK, RankBody(both_bad=True)) == RankBody(both_bad=True)


@given(st.permutations([1, 2, 3, 4]))
def test_a_ranking_keeps_its_positions(ranks: list[int]) -> None:
    assert check(RANK, RankBody(tuple(ranks))) == RankBody(tuple(ranks))


@pytest.mark.parametrize(("ranks", "side"), [((1, 2), "a"), ((2, 1), "b"), ((1, 1), "tie")])
def test_a_ranking_of_two_is_a_pick(ranks: tuple[int, ...], side: str) -> None:
    assert PickBody.of_ranking(Ranking(ranks), both_bad=False) == PickBody(side)
    assert PickBody.of_ranking(None, both_bad=True) == PickBody(both_bad=True)


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
def test_a_judgment_that_breaks_a_rule_is_refused(
    rules: Rules, body: JudgmentBody, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        check(rules, body)


@given(st.tuples(*[st.tuples(st.integers(1, 5), st.integers(1, 5))] * 2))
def test_ratings_are_read_as_they_were_given_in_the_order_of_the_criteria(
    given: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    right, kind = given
    body = check(RATE, RateBody({"kind": kind, "right": right}))
    assert isinstance(body, RateBody)
    assert list(body.ratings.items()) == [("right", right), ("kind", kind)]


def test_a_thumb_keeps_the_reasons_that_were_ticked() -> None:
    body = check(THUMBS, ThumbsBody("down", ("unsafe", "wrong")))
    assert body == ThumbsBody("down", ("wrong", "unsafe"))
    assert check(THUMBS, ThumbsBody("up")) == ThumbsBody("up")


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and "\0" not in text))
def test_a_text_is_kept_to_the_letter(text: str) -> None:
    assert check(WRITE, WriteBody(text)) == WriteBody(text)
    if text != "Paris":
        assert check(EDIT, EditBody(text)) == EditBody(text)


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
def test_a_judgment_of_another_kind_that_breaks_a_rule_is_refused(
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
