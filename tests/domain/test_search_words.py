"""The words of texts and of searches: folded alike, and never a syntax error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import search_words
from app.domain.search_words import SearchTerm, is_match, parse, words
from app.errors import Invalid

TEXT = "My refund: crème brûlée didn't arrive (order 1700-A). 我要退款。"


@pytest.mark.parametrize(
    "search",
    [
        *(
            "refund",
            "refu",
            "REFU",
            "creme",
            "CRÈME BRÛLÉE",
            "arrive my",
            "1700",
            "17",
            "order-1700",
        ),
        *("退款", "要退", "款", '"didn\'t arrive"', '"order 1700"', '"my', "my  (refund)"),
    ],
)
def test_a_search_finds_words_by_their_beginning_and_phrases(search: str) -> None:
    assert is_match(parse(search), TEXT)


@pytest.mark.parametrize(
    "search",
    [
        *("fund", "refunds", "m", "refund lost", '"arrive didn"', '"refu"', "退要", "7", "-", '""'),
    ],
)
def test_a_search_does_not_find_what_is_not_there(search: str) -> None:
    assert not is_match(parse(search), TEXT)


def test_a_search_is_terms_of_words() -> None:
    assert parse('re-fund "a  b" x re-fund') == (
        SearchTerm(("re", "fund"), is_prefix=True),
        SearchTerm(("a", "b"), is_prefix=False),
        SearchTerm(("x",), is_prefix=False),
    )


def test_composed_and_decomposed_text_have_the_same_words() -> None:
    assert (
        words("cafe\u0301 ﬁn Ａ１ が")
        == words("caf\u00e9 fin a1 か\u3099")
        == [
            *("cafe", "fin", "a1", "が"),
        ]
    )


def test_a_long_search_is_refused_with_its_length() -> None:
    with pytest.raises(Invalid, match="at most 500 characters, not 10,000"):
        parse("x" * 10_000)


def test_words_past_the_limit_are_not_indexed() -> None:
    text = "a " * (search_words.LONGEST_TEXT // 2) + "end"
    assert not is_match(parse("end"), text)


@given(st.text(max_size=80))
def test_every_text_finds_itself_unless_it_has_no_words(text: str) -> None:
    terms = parse(text)
    assert is_match(terms, text) is bool(terms)
    assert all(word.strip() == word and word for word in words(text))
