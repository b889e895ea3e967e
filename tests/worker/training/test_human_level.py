from itertools import count

import pytest

from app.domain.ranking import Ranking
from app.domain.vote_shares import TrainingPair
from app.formats.training_rows import (
    DatasetPrompt,
    FrozenRow,
    JudgedCompletion,
    PlainVote,
    TrainingRow,
)
from app.models import Split
from worker.training import human_level, vote_weights

_numbers = count(1)


def row(*ranks: tuple[int, ...], prompt_id: int | None = None) -> FrozenRow:
    number = next(_numbers)
    k = len(ranks[0])
    votes = tuple(
        PlainVote(100 * number + n, f"L{n}", Ranking(each), None) for n, each in enumerate(ranks)
    )
    candidates = tuple(JudgedCompletion(n, f"text {n}", None, True, "m", None) for n in range(k))
    prompt = DatasetPrompt(prompt_id or number, (), Split.VALIDATION, "")
    return FrozenRow(TrainingRow(number, 1, prompt, candidates, (), ()), votes)


def scores(rows: list[FrozenRow], *given: tuple[float, ...]) -> dict[int, tuple[float, ...]]:
    return {one.row.comparison_id: each for one, each in zip(rows, given, strict=True)}


def test_a_model_that_orders_as_everybody_does_is_always_right() -> None:
    rows = [row((1, 2, 3), (1, 2, 3)), row((3, 1, 2), (3, 1, 2))]
    found = human_level.lines(rows, scores(rows, (9.0, 5.0, 1.0), (0.0, 2.0, 1.0)))
    assert found["accuracy_on_votes"]["value"] == 1.0
    assert found["human_level"]["value"] == 1.0
    assert found["ceiling"]["ceiling_high"] == 1.0


def test_votes_are_counted_one_by_one_and_comparisons_equally() -> None:
    rows = [row((1, 2), (1, 2), (2, 1)), row((2, 1), (2, 1), (2, 1))]
    found = human_level.lines(rows, scores(rows, (1.0, 0.0), (1.0, 0.0)))
    assert found["accuracy_on_votes"]["value"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["human_level"]["value"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["votes"] == 6


def test_ties_judge_nobody_and_equal_scores_are_half_right() -> None:
    rows = [row((1, 1), (1, 2))]
    found = human_level.lines(rows, scores(rows, (4.0, 4.0)))
    assert found["accuracy_on_votes"]["value"] == 0.5


def test_without_overlap_there_is_a_reason_and_no_number() -> None:
    rows = [row((1, 2)), row((2, 1))]
    found = human_level.lines(rows, scores(rows, (1.0, 0.0), (1.0, 0.0)))
    assert found["human_level"]["value"] is None
    assert found["human_level"]["reason"]
    assert "undefined" in found["ceiling"]


def test_each_labeler_is_compared_with_the_model() -> None:
    rows = [row((1, 2), (2, 1)), row((1, 2), (2, 1))]
    found = human_level.by_labeler(rows, scores(rows, (1.0, 0.0), (0.0, 1.0)))
    assert found == {
        "L0": {"accuracy": 0.5, "votes": 2},
        "L1": {"accuracy": 0.5, "votes": 2},
    }


def test_a_model_is_held_against_length_on_the_same_votes() -> None:
    rows = [row((1, 2), (1, 2)), row((2, 1)), row((1, 2)), row((1, 2))]
    model = scores(rows, (1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, 1.0))
    lengths = scores(rows, (9, 5), (9, 5), (5, 9), (7, 7))
    found = human_level.against_length(rows, model, lengths, "longer")
    assert found["length_rule"] == "longer"
    assert found["length_accuracy"] == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    lead = found["over_length"]
    assert lead["value"] == pytest.approx((0 + 1 + 1 - 0.5) / 4)
    assert lead["low"] < lead["value"] < lead["high"]
    undecided = [row((1, 1))]
    nothing = human_level.against_length(undecided, scores(undecided, (1, 0)), {}, "shorter")
    assert (nothing["length_accuracy"], nothing["over_length"]["value"]) == (None, None)


@pytest.mark.parametrize(
    ("strength", "share", "expected"),
    [(None, 1.0, 0.0), (4.0, 1.0, 1.0), (4.0, 0.5, 0.0), (1.0, 0.0, 0.0), (2.5, 0.0, 0.5)],
)
def test_the_margin_grows_with_strength_and_shrinks_with_dissent(
    strength: float | None, share: float, expected: float
) -> None:
    pair = TrainingPair(0, 1, share, 2, 1.0, strength)
    assert vote_weights.margin_of(pair) == pytest.approx(expected)


def test_intervals_are_clustered_by_prompt() -> None:
    def width(*, shared: bool) -> float:
        rows = [row((1, 2), (1, 2), prompt_id=1 + n // 5 if shared else 100 + n) for n in range(40)]
        right = [n // 5 % 3 != 0 for n in range(40)]  # five comparisons alike on each prompt
        given = [(1.0, 0.0) if is_right else (0.0, 1.0) for is_right in right]
        accuracy = human_level.lines(rows, scores(rows, *given))["accuracy_on_votes"]
        return float(accuracy["high"] - accuracy["low"])

    assert width(shared=True) > 1.5 * width(shared=False)


@pytest.mark.parametrize(
    ("strength", "margin", "share", "expected"),
    [(None, 2.5, 1.0, 2.5), (None, 2.5, 0.25, 1.25), (4.0, 2.5, 1.0, 1.0), (None, -1.0, 1.0, 0.0)],
)
def test_the_margin_of_an_imported_file_counts_where_there_is_no_strength(
    strength: float | None, margin: float, share: float, expected: float
) -> None:
    pair = TrainingPair(0, 1, share, 2, 1.0, strength, margin)
    assert vote_weights.margin_of(pair) == pytest.approx(expected)
