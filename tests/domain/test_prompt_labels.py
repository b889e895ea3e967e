"""Categories and tags in the notes of imported rows."""

import pytest

from app.domain.prompt_labels import NONE, PromptLabels, of_notes


@pytest.mark.parametrize(
    ("notes", "labels"),
    [
        ({}, NONE),
        ({"topic": "math"}, NONE),
        ({"category": " open  qa "}, PromptLabels("open qa")),
        ({"category": 3, "subset": "alpacaeval-easy"}, PromptLabels("alpacaeval-easy")),
        ({"domain": "code", "language": "python"}, PromptLabels("code")),
        ({"category": "", "domain": "code"}, PromptLabels("code")),
        ({"tags": ["a", " b", "a", "", 3]}, PromptLabels(tags=("a", "b"))),
        ({"tags": "a, b,,a"}, PromptLabels(tags=("a", "b"))),
        ({"category": "x" * 121, "tags": ["y" * 61, "z"]}, PromptLabels("", ("z",), refused=2)),
    ],
)
def test_labels_in_notes(notes: dict[str, object], labels: PromptLabels) -> None:
    assert of_notes(notes) == labels
