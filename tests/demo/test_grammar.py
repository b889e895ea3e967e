"""Questions are distinct and readable; answers are drawn from the mix asked for."""

import random

import pytest

from app.demo import answer_traits, grammar
from app.demo.grammar import AnswerMix

N = 3000


def test_prompts_are_distinct_deterministic_and_a_larger_draw_only_adds() -> None:
    drawn = grammar.prompts(N, seed=1)
    assert len({prompt.text for prompt in drawn}) == N
    assert grammar.prompts(N, seed=1) == drawn
    assert grammar.prompts(N // 2, seed=1) == drawn[: N // 2]
    assert grammar.prompts(N, seed=2) != drawn


def test_all_questions_of_the_grammar_are_distinct() -> None:
    every = grammar.prompts(grammar.CAPACITY, seed=0)
    assert len({prompt.text for prompt in every}) == grammar.CAPACITY


def test_asking_for_more_questions_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{grammar.CAPACITY} questions"):
        grammar.prompts(grammar.CAPACITY + 1, seed=0)


def test_every_question_is_short_and_read_back_as_what_it_asks() -> None:
    for prompt in grammar.prompts(N, seed=3):
        assert 8 <= len(prompt.text.split()) <= 24
        asked = answer_traits.find_inquiry(prompt.text)
        assert asked is not None
        assert (asked.topic.name, asked.item) == (prompt.topic, prompt.item)


def test_demonstrations_are_deterministic_and_end_as_sentences() -> None:
    asked = grammar.prompts(500, seed=4)
    written = grammar.demonstrations(asked, seed=4)
    assert written == grammar.demonstrations(asked, seed=4)
    assert all(one.answer[-1] in ".?" for one in written)
    assert len({one.answer for one in written}) > 400


def test_shares_of_right_and_wrong_are_those_of_the_mix() -> None:
    asked = grammar.prompts(N, seed=5)
    mix = AnswerMix(right=0.6, wrong=0.1)
    rng = random.Random(5)
    traits = [answer_traits.read(one.text, grammar.answer(one, mix, rng)) for one in asked]
    # Three standard errors of a share of N draws are below 0.03.
    assert sum(one.says_right for one in traits) / N == pytest.approx(0.6, abs=0.03)
    assert sum(one.says_wrong for one in traits) / N == pytest.approx(0.1, abs=0.03)
    assert not any(one.says_right and one.says_wrong for one in traits)


def test_a_mix_of_one_kind_gives_only_that_kind() -> None:
    asked = grammar.prompts(200, seed=6)
    best = AnswerMix(1.0, 0.0, 0.0, offer=1.0, evasion=0.0, kind=1.0, curt=0.0, padding=0.0)
    for one in grammar.demonstrations(asked, seed=6, mix=best):
        traits = answer_traits.read(one.prompt.text, one.answer)
        assert traits.says_right
        assert traits.offers == 1
        assert traits.kindnesses >= 1
        assert (traits.padding, traits.beside, traits.curtness, traits.evasions) == (0, 0, 0, 0)
