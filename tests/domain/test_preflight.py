from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.plan import Preflight
from app.domain.preflight import Defect, Draft, groups, is_looping, likeness, sort

RULES = Preflight()


def draft(text: str, *, is_finished: bool = True) -> Draft:
    return Draft(text, is_finished)


def test_of_every_kind_of_waste_nothing_is_kept() -> None:
    drafts = [
        draft("The desk opens at nine on weekdays and closes at six in the evening."),
        draft("  \n"),
        draft("The desk opens", is_finished=False),
        draft("You can, you can, you can, you can, you can, you can"),
        draft("the desk opens at nine on weekdays  and closes at six in the evening."),
        draft("The desk opens at nine on weekdays and closes at six in the evening!"),
        draft("Please ask at the front desk."),
    ]
    found = sort(drafts, RULES)
    assert found.kept == (0, 6)
    assert dict(found.dropped) == {
        1: Defect.EMPTY,
        2: Defect.CUT_OFF,
        3: Defect.LOOPING,
        4: Defect.IDENTICAL,
        5: Defect.NEAR_IDENTICAL,
    }


def test_switched_off_it_drops_only_what_cannot_be_compared() -> None:
    drafts = [draft("a b", is_finished=False), draft("a b"), draft("")]
    found = sort(drafts, Preflight(is_on=False))
    assert set(found.dropped.values()) == {Defect.IDENTICAL, Defect.EMPTY}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no no no no", True),
        ("no no no", False),
        ("one two three one two three one two three one two three", True),
        ("We open at 9. We close at 6. We open at 10. We close at 7.", False),
        ("Wait.....", False),
        ("- - - - - -", False),
    ],
)
def test_a_loop_is_words_that_come_again_and_again(text: str, expected: bool) -> None:
    assert is_looping(text, 4) is expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_is_symmetric_and_one_for_the_same_text(first: str, second: str) -> None:
    assert likeness(first, second) == likeness(second, first)
    assert 0 <= likeness(first, second) <= 1
    assert likeness(first, first) == 1


@given(st.integers(2, 8), st.integers(2, 5), st.integers(1, 10), st.integers())
def test_groups_differ_and_use_candidates_evenly(
    count: int, k: int, comparisons: int, seed: int
) -> None:
    found = groups(count, k, comparisons, str(seed))
    assert len({frozenset(group) for group in found}) == len(found) <= comparisons
    assert all(len(set(group)) == k and max(group) < count for group in found)
    assert bool(found) is (count >= k)
    if len(found) * k <= count:
        assert max(Counter(index for group in found for index in group).values(), default=1) == 1


def test_groups_are_the_same_for_the_same_seed() -> None:
    assert groups(6, 3, 4, "a") == groups(6, 3, 4, "a") != groups(6, 3, 4, "b")


def test_every_response_of_a_conversation_is_checked() -> None:
    """The one to a follow-up may be good where the one before it is empty, and alike by chance."""
    own = Draft("A good text.", is_finished=True, earlier=("A long text.",))
    other = Draft("A good text.", is_finished=True, earlier=("Something else entirely, you see.",))
    silent = Draft("A good text.", is_finished=True, earlier=(" ",))
    result = sort([own, other, silent, own], Preflight())
    assert result.kept == (0, 1)
    assert result.dropped == {2: Defect.EMPTY, 3: Defect.IDENTICAL}
