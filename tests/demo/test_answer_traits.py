"""Reading finds what the grammar wrote, and what a model made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import answer_traits, grammar, phrases
from app.demo.library import TOPICS

QUESTION = "Hello. I am new in town. How long can I keep a novel at home?"
RIGHT = "You can keep a novel for three weeks."


def test_no_item_occurs_inside_another_and_no_value_belongs_to_two_topics() -> None:
    items = [item.lower() for topic in TOPICS for item in topic.facts]
    values = [value.lower() for topic in TOPICS for value in topic.values]
    for names in (items, values):
        assert not [
            (a, b) for i, a in enumerate(names) for j, b in enumerate(names) if i != j and a in b
        ]
    texts = (*phrases.CONTEXTS, *phrases.PADDING, *phrases.OFFERS, *phrases.EVASIONS)
    assert not [item for item in items for text in texts if item in text.lower()]


@pytest.mark.parametrize(
    ("pool", "trait"),
    [
        (phrases.KIND_OPENINGS + phrases.KIND_CLOSINGS, "kindnesses"),
        (phrases.CURT_OPENINGS + phrases.CURT_CLOSINGS, "curtness"),
        (phrases.NON_ANSWERS + phrases.EVASIONS, "evasions"),
        (phrases.OFFERS + tuple(offer for topic in TOPICS for offer in topic.offers), "offers"),
        (phrases.PADDING, "padding"),
    ],
)
def test_every_phrase_is_read_as_its_pool_says(pool: tuple[str, ...], trait: str) -> None:
    traits = ("kindnesses", "curtness", "evasions", "offers", "padding")
    for phrase in pool:
        found = answer_traits.read(QUESTION, phrase)
        assert {name: getattr(found, name) for name in traits} == {
            name: int(name == trait) for name in traits
        }, phrase
        assert not found.says_right
        assert not found.says_wrong
        assert found.beside == 0
        assert found.unknown_share == 0


def test_every_statement_is_read_as_right_only_where_the_world_says_so() -> None:
    for topic in TOPICS:
        for item, right in topic.facts.items():
            question = topic.questions[0].format(item=item)
            for template in topic.statements:
                for value in topic.values:
                    found = answer_traits.read(question, grammar.statement(template, item, value))
                    assert found.says_right == (value == right)
                    assert found.says_wrong == (value != right)
                    assert (found.beside, found.padding, found.offers) == (0, 0, 0)


def test_a_true_fact_about_another_item_is_beside_the_question() -> None:
    found = answer_traits.read(QUESTION, "You can keep a board game for ten days.")
    assert (found.says_right, found.says_wrong, found.beside) == (False, False, 1)


def test_a_value_with_an_item_of_another_topic_is_not_an_answer() -> None:
    found = answer_traits.read(QUESTION, "Replacing a lost card costs for three weeks.")
    assert (found.says_right, found.says_wrong, found.beside) == (False, False, 1)


def test_each_value_of_a_sentence_goes_with_the_item_of_its_own_topic() -> None:
    text = "You can keep a novel for three weeks and a lost card costs five dollars."
    found = answer_traits.read(QUESTION, text)
    assert (found.says_right, found.says_wrong, found.beside) == (True, False, 1)


def test_a_question_asks_about_the_item_it_names_last() -> None:
    asked = answer_traits.find_inquiry("I returned an overdue film. May I keep a novel at home?")
    assert asked is not None
    assert asked.item == "a novel"


def test_naming_every_value_is_both_right_and_wrong() -> None:
    loans = next(topic for topic in TOPICS if topic.name == "loan periods")
    stuffed = " ".join(f"You can keep it {value}." for value in loans.values)
    found = answer_traits.read(QUESTION, stuffed)
    assert found.says_right
    assert found.says_wrong


def test_broken_text_is_seen() -> None:
    assert answer_traits.read(QUESTION, "You can keep a novel for").is_cut
    assert not answer_traits.read(QUESTION, RIGHT).is_cut
    assert answer_traits.read(QUESTION, "novel keep weeks the three can.").unknown_share > 0.8
    assert answer_traits.read(QUESTION, f"{RIGHT} {RIGHT}").repeated_words > 0
    assert answer_traits.read(QUESTION, RIGHT).repeated_words == 0
    assert answer_traits.read(QUESTION, " .!? ").is_empty


def test_a_prompt_about_nothing_here_has_no_right_answer() -> None:
    assert answer_traits.find_inquiry("What is the capital of France?") is None
    found = answer_traits.read("What is the capital of France?", RIGHT)
    assert (found.says_right, found.says_wrong, found.beside) == (False, False, 1)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_read(prompt: str, answer: str) -> None:
    found = answer_traits.read(prompt, answer)
    assert 0.0 <= found.unknown_share <= 1.0
    assert found.words >= found.repeated_words >= 0
