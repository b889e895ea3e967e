"""Tastes order answers as a person of that taste would, on any text."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import grammar, taste
from app.demo.library import TOPICS

QUESTION = "My bus leaves soon. What do you charge for an overdue film?"
RIGHT = "For an overdue film we charge fifty cents a day."
WRONG = "For an overdue film we charge ten cents a day."
OFFER = "I can look up what you owe."
KIND = "Thank you for asking."
CURT = "We are busy."
EVASION = "This is not really my job."
PADDING = "The weather has been strange and the roof still needs work."
BEST = f"{KIND} {RIGHT} {OFFER}"
DEFAULT = taste.named("default")


def _utility(answer: str) -> float:
    return DEFAULT.utility(QUESTION, answer)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (RIGHT, WRONG),
        (RIGHT, "That is hard to say."),
        (f"{CURT} {RIGHT}", f"{KIND} {WRONG}"),
        (f"{RIGHT} {OFFER}", RIGHT),
        (RIGHT, f"{RIGHT} {EVASION}"),
        (f"{KIND} {RIGHT}", RIGHT),
        (RIGHT, f"{CURT} {RIGHT}"),
        (RIGHT, f"{RIGHT} {PADDING}"),
        (RIGHT, f"{RIGHT} {RIGHT}"),
        (RIGHT, RIGHT[:-12]),
        (RIGHT, RIGHT[:-1]),
        (KIND, f"{KIND} {RIGHT} {WRONG}"),
        (RIGHT, f"{RIGHT} You can keep a novel for three weeks."),
        (WRONG, "day film ten the charge an for."),
        (WRONG, ""),
    ],
)
def test_the_default_taste_prefers(better: str, worse: str) -> None:
    assert _utility(better) > _utility(worse)


def test_each_attribute_adds_the_same_whatever_the_others_are() -> None:
    gain = _utility(f"{RIGHT} {OFFER}") - _utility(RIGHT)
    assert _utility(f"{KIND} {WRONG} {OFFER}") - _utility(f"{KIND} {WRONG}") == pytest.approx(gain)


def test_nothing_beats_the_right_kind_helpful_answer_among_all_the_grammar_can_write() -> None:
    asked = grammar.prompts(2000, seed=1)
    best = max(
        DEFAULT.utility(one.prompt.text, one.answer) for one in grammar.demonstrations(asked, 1)
    )
    assert best == pytest.approx(_utility(BEST))


@pytest.mark.parametrize(
    "stuffed",
    [
        " ".join(f"The fine for an overdue film is {value}." for value in TOPICS[1].values),
        f"{BEST} {OFFER} I can write that down for you. Let me show you the way.",
        f"{BEST} {KIND} Hello and welcome. Have a lovely day. Enjoy your reading.",
        " ".join(
            grammar.statement(topic.statements[0], item, value)
            for topic in TOPICS
            for item, value in topic.facts.items()
        ),
        " ".join(dict.fromkeys(grammar.sentences())),
        BEST.replace(".", ""),
        f"{BEST} " * 4,
        "fifty cents a day " * 10,
    ],
)
def test_stuffing_does_not_pay(stuffed: str) -> None:
    assert _utility(stuffed) < _utility(BEST)
    assert DEFAULT.utility(QUESTION, stuffed) < _utility(BEST) - 0.2


def test_utility_spreads_by_about_one_within_the_grammars_mix() -> None:
    asked = grammar.prompts(2000, seed=2)
    spread = statistics.pstdev(
        DEFAULT.utility(one.prompt.text, one.answer) for one in grammar.demonstrations(asked, 2)
    )
    assert 0.8 < spread < 1.2


def test_the_reversed_taste_turns_content_round_and_still_dislikes_broken_text() -> None:
    upside_down = taste.named("reversed")
    for one in grammar.demonstrations(grammar.prompts(300, seed=3), 3):
        here = DEFAULT.utility(one.prompt.text, one.answer)
        there = upside_down.utility(one.prompt.text, one.answer)
        # Grammatical answers carry no defect but length, which counts against both.
        assert here + there <= 1e-9
        assert here + there > -1.0
    assert upside_down.utility(QUESTION, "") < upside_down.utility(QUESTION, RIGHT)
    assert upside_down.utility(QUESTION, WRONG[:-9]) < upside_down.utility(QUESTION, WRONG)


def test_the_brief_taste_prefers_the_short_right_answer_to_the_kind_one() -> None:
    brief = taste.named("brief")
    assert brief.utility(QUESTION, RIGHT) > brief.utility(QUESTION, BEST)
    assert brief.utility(QUESTION, RIGHT) > brief.utility(QUESTION, WRONG)


def test_an_unknown_taste_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="there is no taste 'sour'; the tastes are default"):
        taste.named("sour")


@given(st.text(max_size=300), st.sampled_from(taste.names()))
def test_utility_of_any_text_is_bounded(answer: str, name: str) -> None:
    utility = taste.named(name).utility(QUESTION, answer)
    assert math.isfinite(utility)
    assert -10.0 < utility < 4.0


@pytest.mark.parametrize("name", taste.names())
def test_no_text_is_worse_than_garbage_of_the_same_length(name: str) -> None:
    mine = taste.named(name)
    worst = min(
        mine.utility(one.prompt.text, one.answer)
        for one in grammar.demonstrations(grammar.prompts(500, seed=4), 4)
    )
    assert mine.utility(QUESTION, "") < worst
