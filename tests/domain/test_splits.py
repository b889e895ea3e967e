from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.splits import Shares, Split, content_hash, group_hash, shared_split, split_of
from app.errors import Invalid

texts = st.text(min_size=1)


@given(texts, texts)
def test_hash_separates_turns(first: str, second: str) -> None:
    joined = content_hash([("user", first + second)])
    assert content_hash([("user", first), ("user", second)]) != joined


def test_role_counts_in_the_hash() -> None:
    assert content_hash([("user", "x")]) != content_hash([("system", "x")])


def test_spelling_and_outer_space_do_not_count() -> None:
    assert content_hash([("user", "caf\u00e9\r\nnow ")]) == content_hash(
        [("user", "cafe\u0301\nnow")]
    )


def test_shares_are_kept_to_within_sampling_error() -> None:
    n = 20_000
    found = Counter(split_of(content_hash([("user", str(i))])) for i in range(n))
    # Five standard deviations of a binomial share of 0.1.
    assert abs(found[Split.TEST] / n - 0.1) < 5 * (0.09 / n) ** 0.5
    assert abs(found[Split.VALIDATION] / n - 0.1) < 5 * (0.09 / n) ** 0.5


@given(texts)
def test_growing_train_at_the_cost_of_test_moves_nothing_out_of_train(text: str) -> None:
    digest = content_hash([("user", text)])
    if split_of(digest, Shares(80, 10, 10)) is Split.TRAIN:
        assert split_of(digest, Shares(90, 5, 5)) is Split.TRAIN


@given(texts)
def test_all_in_one_split(text: str) -> None:
    digest = content_hash([("user", text)])
    assert split_of(digest, Shares(100, 0, 0)) is Split.TRAIN
    assert split_of(digest, Shares(0, 0, 100)) is Split.TEST


def test_split_of_a_known_prompt_never_changes() -> None:
    digest = content_hash([("user", "When does the library open?")])
    assert digest == "e0881ebf6e63f1b3c446b6501bad1e204fd3a56a2fab2e9c0ac8efc8f7bb268a"
    assert split_of(digest) is Split.TEST


@pytest.mark.parametrize("shares", [(80, 10, 11), (110, -10, 0)])
def test_shares_sum_to_a_hundred(shares: tuple[int, int, int]) -> None:
    with pytest.raises(Invalid, match="add up to 100"):
        Shares(*shares)


CONVERSATION = [("system", "Be kind."), ("user", "Open?"), ("assistant", "Yes."), ("user", "Now?")]


def test_turns_of_one_conversation_are_a_group() -> None:
    assert group_hash(CONVERSATION) == group_hash(CONVERSATION[:2])
    other_end = [*CONVERSATION[:2], ("assistant", "No."), ("user", "When?")]
    assert group_hash(CONVERSATION) == group_hash(other_end)


def test_a_system_turn_alone_groups_nothing() -> None:
    assert group_hash(CONVERSATION) != group_hash([("system", "Be kind."), ("user", "Shut?")])


@given(texts)
def test_the_group_of_a_single_turn_is_its_content(text: str) -> None:
    assert group_hash([("user", text)]) == content_hash([("user", text)])


def test_a_greeting_is_part_of_the_beginning() -> None:
    greeting = ("assistant", "How can I help?")
    assert group_hash([greeting, ("user", "Open?")]) != group_hash([greeting, ("user", "Shut?")])
    assert group_hash([greeting]) == content_hash([greeting])


def test_a_group_in_several_splits_prefers_training() -> None:
    assert shared_split([]) is None
    assert shared_split([Split.TEST]) is Split.TEST
    assert shared_split([Split.TEST, Split.TRAIN]) is Split.TRAIN
    assert shared_split([Split.TEST, Split.VALIDATION]) is Split.VALIDATION
