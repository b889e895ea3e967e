import json
from collections import Counter

import pytest
from hypothesis import given

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import vertex, writers
from app.formats.records import CompletionText, PreferenceRecord, Turn
from tests.formats import strategies as drawn

PROMPT = (Turn("user", "q"),)


def preference(*ranks: int, prompt: tuple[Turn, ...] = PROMPT) -> PreferenceRecord:
    texts = tuple(CompletionText(letter) for letter in "abcdefghi"[: len(ranks)])
    return PreferenceRecord(prompt, texts, Ranking(ranks))


@pytest.mark.parametrize("name", writers.PREFERENCES)
def test_tie_is_refused_by_every_format_of_pairs(name: str) -> None:
    with pytest.raises(Invalid, match="a tie has no chosen completion"):
        writers.preference(name)(preference(1, 1))


@pytest.mark.parametrize("name", writers.PREFERENCES)
def test_ranking_of_three_is_refused_by_every_format_of_pairs(name: str) -> None:
    with pytest.raises(Invalid, match="a pair must have two completions, not 3"):
        writers.preference(name)(preference(1, 2, 3))


def test_trl_texts_say_the_same_with_an_explicit_prompt_as_with_an_implicit_one() -> None:
    record = preference(1, 2)
    explicit, implicit = (writers.preference(f"trl-{one}-text") for one in ("explicit", "implicit"))
    row = explicit(record)
    joined = {side: f"{row['prompt']}{row[side]}" for side in ("chosen", "rejected")}  # as TRL does
    assert joined == implicit(record)


@pytest.mark.parametrize("name", ["trl-explicit-text", "trl-implicit-text", "vertex-rlhf"])
def test_text_formats_refuse_a_conversation(name: str) -> None:
    long = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))
    with pytest.raises(Invalid, match="one user turn, not a conversation"):
        writers.preference(name)(preference(1, 2, prompt=long))


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ((Turn("system", "s"), Turn("user", "q")), "no system turns"),
        ((Turn("user", "a"), Turn("user", "b")), "two user turns are adjacent"),
        ((Turn("user", "a\n\nAssistant: b"),), "turn 1 contains 'Human:' or 'Assistant:'"),
    ],
)
def test_hh_refuses_what_it_could_not_read_back(prompt: tuple[Turn, ...], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        writers.preference("hh")(preference(1, 2, prompt=prompt))


@pytest.mark.parametrize("name", ["hh", "vertex-rlhf", "openai-preference"])
def test_margin_is_refused_where_there_is_no_room(name: str) -> None:
    with pytest.raises(Invalid, match="has no margin"):
        writers.preference(name, margin=True)


@given(drawn.preferences(drawn.single))
def test_vertex_numbering_says_nothing_of_the_choice(record: PreferenceRecord) -> None:
    other = PreferenceRecord(
        record.messages, record.candidates, Ranking((2, 1) if record.preferred == 0 else (1, 2))
    )
    one, two = vertex.write_preference(record), vertex.write_preference(other)
    assert [one[k] for k in ("candidate_0", "candidate_1")] == [
        two[k] for k in ("candidate_0", "candidate_1")
    ]
    assert {one["choice"], two["choice"]} == {0, 1}


def test_vertex_choices_are_even() -> None:
    rows = [
        vertex.write_preference(preference(1, 2, prompt=(Turn("user", f"q{n}"),)))
        for n in range(2000)
    ]
    # Five standard deviations of a fair coin.
    assert abs(Counter(str(row["choice"]) for row in rows)["0"] - 1000) < 5 * 500**0.5


def test_explicit_row_is_what_preference_trainers_take() -> None:
    assert json.dumps(writers.preference("trl-explicit")(preference(2, 1))) == (
        '{"prompt": [{"role": "user", "content": "q"}], '
        '"chosen": [{"role": "assistant", "content": "b"}], '
        '"rejected": [{"role": "assistant", "content": "a"}]}'
    )
