"""Votes without a labeler's name: all are kept, under names that the same file gives again."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats import registry
from app.formats.records import ComparisonRecord, PreferenceRecord, Rejected, UnpairedRecord


def labelers(*rows: dict[str, Any]) -> list[str | None]:
    data = "\n".join(map(json.dumps, rows)).encode()
    names: list[str | None] = []
    for _, record in registry.outcomes([data]):
        assert not isinstance(record, Rejected)
        if isinstance(record, ComparisonRecord):
            names += [vote.labeler for vote in record.votes]
        elif isinstance(record, PreferenceRecord | UnpairedRecord):
            names.append(record.labeler)
    return names


def numbers(*rows: dict[str, Any]) -> list[str]:
    return [str(name).partition(" of file ")[0] for name in labelers(*rows)]


def choice(prompt: str, side: int) -> dict[str, Any]:
    return {"input_text": prompt, "candidate_0": "x", "candidate_1": "y", "choice": side}


def test_votes_on_one_comparison_are_numbered_and_none_is_lost() -> None:
    rows = [choice("a", 0), choice("b", 0), choice("a", 1), choice("a", 0), choice("b", 0)]
    assert numbers(*rows) == ["unnamed 1", "unnamed 1", "unnamed 2", "unnamed 3", "unnamed 2"]


RATED = {"prompt": "Is it open?", "response": "Until six.", "helpfulness": 3, "correctness": 4}
PAIR = {"prompt": "Is it open?", "chosen": "Until six.", "rejected": "No.", "margin": 1.5}
RICH = {
    "context": "Is it open?",
    "completions": ["x", "y"],
    "individual_preference": [{"labeler": "", "ranking": [1, 2]}],
}


@pytest.mark.parametrize(
    ("row", "tag"), [(RATED, "163f1633"), (PAIR, "2c414af2"), (RICH, "acdace37")]
)
def test_files_imported_by_earlier_versions_are_still_known(row: dict[str, Any], tag: str) -> None:
    assert labelers(row) == [f"unnamed 1 of file {tag}"]


def test_each_of_many_comparisons_has_its_own_count() -> None:
    rows = [choice(f"question {n % 1700}", 0) for n in range(4000)]
    assert numbers(*rows) == [f"unnamed {1 + n // 1700}" for n in range(4000)]


def test_completions_in_another_order_are_the_same_comparison() -> None:
    swapped = {"input_text": "a", "candidate_0": "y", "candidate_1": "x", "choice": 0}
    assert numbers(choice("a", 0), swapped) == ["unnamed 1", "unnamed 2"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1)), min_size=1, max_size=20))
def test_the_same_file_gives_the_same_names_and_each_vote_its_own(
    votes: list[tuple[str, int]],
) -> None:
    rows = [choice(prompt, side) for prompt, side in votes]
    assert labelers(*rows) == labelers(*rows)
    places = [(prompt, name) for (prompt, _), name in zip(votes, labelers(*rows), strict=True)]
    assert len(set(places)) == len(votes)


def test_two_files_on_the_same_comparisons_are_two_peoples() -> None:
    first, second = [choice("a", 0), choice("b", 0)], [choice("a", 0), choice("b", 1)]
    assert not set(labelers(*first)) & set(labelers(*second))


def test_names_of_the_file_stay() -> None:
    row = {"prompt": "q", "completion": "x", "label": True}
    assert labelers({**row, "labeler": "ann"}, {**row, "labeler": "bob"}) == ["ann", "bob"]
    assert numbers(row, row) == ["unnamed 1", "unnamed 2"]


def test_annotators_of_one_row_are_numbered() -> None:
    row = {
        "context": [{"role": "user", "content": "q"}],
        "response1": "x",
        "response2": "y",
        "overall_preference": 1,
        "individual_preference": [{"score": 1}, {"score": 2}, {"score": -1}],
    }
    assert numbers(row) == ["unnamed 1", "unnamed 2", "unnamed 3"]


def test_judgments_of_different_kinds_are_counted_apart() -> None:
    row = {
        "prompt": "q",
        "response_0": "x",
        "response_1": "y",
        "better_response_id": 1,
        "safer_response_id": 0,
    }
    assert numbers(row) == ["unnamed 1", "unnamed 1"]


def test_file_of_a_known_format_that_holds_nothing_gives_nothing() -> None:
    for name in ("prompts", "csv"):
        assert list(registry.outcomes([], name)) == []
        ((line, rejected),) = registry.outcomes([b"x" * 2_000_000], name)
        assert isinstance(rejected, Rejected)
        assert (line, rejected.reason) == (1, "the line is longer than 1048576 bytes")
