"""Replies are read or refused with the reason; both orders make one verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judges import replies, verdicts
from app.domain.judges.verdicts import ShownVerdict
from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
from app.errors import Invalid

PICK, RANK = JudgmentKind.PICK, JudgmentKind.RANK


@pytest.mark.parametrize(
    ("reply", "ranks"),
    [
        ('{"explanation": "x", "verdict": "A"}', (1, 2)),
        ('Sure!\n```json\n{"verdict": "Response B"}\n```', (2, 1)),
        ('<think>{"verdict": "A"} is likely</think>{"verdict": "tie"}', (1, 1)),
        ('A says {"verdict": "A"}, but {"explanation": "worse", "verdict": "[[B]]"}', (2, 1)),
        ('{"verdict": "a", "explanation": "braces } { in text"}', (1, 2)),
    ],
)
def test_a_verdict_is_read_from_what_models_write(reply: str, ranks: tuple[int, ...]) -> None:
    assert verdicts.read(reply, PICK, 2).ranking.ranks == ranks


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "no JSON object with 'verdict'"),
        ("A is better", "no JSON object with 'verdict'"),
        ('{"verdict": "both"}', "must be A, B or tie, not 'both'"),
        ('{"verdict": ["A"', "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ('{"a":' * 30_000, "no JSON object"),
    ],
)
def test_what_is_no_verdict_is_refused_with_the_reason(reply: str, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        verdicts.read(reply, PICK, 2)


def test_strength_counts_only_where_it_is_offered_and_something_is_preferred() -> None:
    said = '{"verdict": "%s", "strength": %s}'
    assert verdicts.read(said % ("A", 3), PICK, 2, strengths=(1, 2, 3, 4)).strength == 3
    assert verdicts.read(said % ("A", 3), PICK, 2).strength is None
    assert verdicts.read(said % ("tie", 3), PICK, 2, strengths=(1, 2, 3, 4)).strength is None
    assert verdicts.read(said % ("A", 9), PICK, 2, strengths=(1, 2, 3, 4)).strength is None


@pytest.mark.parametrize("ranking", ['[["C"], ["A", "B"]]', '["C", ["A", "B"]]', '"C > A = B"'])
def test_rankings_are_read_with_ties(ranking: str) -> None:
    found = verdicts.read(f'{{"ranking": {ranking}}}', RANK, 3)
    assert found.ranking.ranks == (2, 2, 1)


@pytest.mark.parametrize("ranking", ['["A", "B"]', '["A", "B", "C", "A"]', '["A", "B", "X"]', "3"])
def test_a_ranking_names_every_response_once(ranking: str) -> None:
    with pytest.raises(Invalid):
        verdicts.read(f'{{"ranking": {ranking}}}', RANK, 3)


def test_an_explanation_can_be_stored_anywhere() -> None:
    found = verdicts.read('{"verdict": "A", "explanation": "a\\u0000b \\ud800"}', PICK, 2)
    assert found.explanation == "ab ?"
    long = verdicts.read(f'{{"verdict": "A", "explanation": "{"x" * 9_000}"}}', PICK, 2)
    assert len(long.explanation) == replies.EXPLANATION_MOST


@pytest.mark.parametrize(
    ("said", "score"), [("7", 7), ("10.0", 10), ("0", None), ("7.5", None), ("true", None)]
)
def test_scores_are_whole_numbers_from_one_to_ten(said: str, score: int | None) -> None:
    reply = f'{{"explanation": "ok", "score": {said}}}'
    if score is None:
        with pytest.raises(Invalid, match="whole number from 1 to 10"):
            verdicts.read_score(reply)
    else:
        assert verdicts.read_score(reply).score == score


def test_a_pick_on_which_the_orders_disagree_is_a_tie() -> None:
    first = ((0, 1), ShownVerdict(Ranking((1, 2)), 4))
    same = ((1, 0), ShownVerdict(Ranking((2, 1)), 1))
    other = ((1, 0), ShownVerdict(Ranking((1, 2)), 4))
    unsure = ((1, 0), ShownVerdict(Ranking((1, 1))))
    agreed = verdicts.combined([first, same])
    assert (agreed.ranking.ranks, agreed.strength, agreed.is_consistent) == ((1, 2), 2, True)
    for against in (other, unsure):
        found = verdicts.combined([first, against])
        assert (found.ranking.ranks, found.strength, found.is_consistent) == ((1, 1), None, False)


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_orders_average_to_the_same_whichever_comes_first(one: list[int], two: list[int]) -> None:
    orders = verdicts.orders(4)
    shown = [
        (order, ShownVerdict(Ranking.of_positions(positions)))
        for order, positions in zip(orders, (one, two), strict=True)
    ]
    assert verdicts.combined(shown) == verdicts.combined(shown[::-1])


@given(st.permutations(range(5)))
def test_a_judge_that_looks_at_texts_alone_is_consistent(utility: list[int]) -> None:
    shown = [
        (order, ShownVerdict(Ranking.of_positions([-utility[place] for place in order])))
        for order in verdicts.orders(5)
    ]
    found = verdicts.combined(shown)
    assert found.is_consistent
    assert found.ranking == Ranking.of_positions([-value for value in utility])
