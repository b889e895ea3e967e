"""The category and tags of a prompt are kept from every format, and not called lost."""

import json

import pytest

from app.domain.prompt_labels import of_notes
from app.formats import registry
from app.formats.preview import preview
from app.formats.records import Rejected

LABELS = {"category": "math", "tags": ["a", "b"]}
ROWS: dict[str, dict[str, object]] = {
    "prompts": {"prompt": "Add 2 and 2"},
    "dolly": {"instruction": "Add", "context": "", "response": "4"},
    "mt-bench": {"question_id": 1, "turns": ["Add 2 and 2", "And 3?"]},
    "trl": {"prompt": "Add 2 and 2", "chosen": "4", "rejected": "5"},
    "unpaired": {"prompt": "Add 2 and 2", "completion": "4", "label": True},
    "completions": {"prompt": "Add 2 and 2", "completions": [{"text": "4"}, {"text": "5"}]},
}


def rows_of(row: dict[str, object]) -> bytes:
    return json.dumps(row).encode() + b"\n"


@pytest.mark.parametrize("name", ROWS)
def test_each_format_keeps_them(name: str) -> None:
    data = rows_of(ROWS[name] | LABELS)
    (outcome,) = [found for _, found in registry.outcomes(iter([data]))]
    assert not isinstance(outcome, Rejected)
    labels = of_notes(outcome.meta)
    assert (labels.category, labels.tags) == ("math", ("a", "b"))
    assert preview(iter([data]))[0].lost == {}


def test_a_column_can_be_mapped_to_the_category() -> None:
    data = b"prompt,topic\nAdd 2 and 2,math\n"
    (outcome,) = [
        found for _, found in registry.outcomes(iter([data]), mapping={"category": "topic"})
    ]
    assert not isinstance(outcome, Rejected)
    assert of_notes(outcome.meta).category == "math"


def test_reward_bench_names_it_subset() -> None:
    row = ROWS["trl"] | {"subset": "alpacaeval-easy"}
    (outcome,) = [found for _, found in registry.outcomes(iter([rows_of(row)]))]
    assert not isinstance(outcome, Rejected)
    assert of_notes(outcome.meta).category == "alpacaeval-easy"


@pytest.mark.parametrize("domain", ["askculinary_train", "askculinary"])
def test_the_forum_is_the_category_of_shp(domain: str) -> None:
    row = {"history": "Salt?", "human_ref_A": "Yes.", "human_ref_B": "No.", "labels": 1}
    data = rows_of(row | {"domain": domain})
    (outcome,) = [found for _, found in registry.outcomes(iter([data]))]
    assert not isinstance(outcome, Rejected)
    assert of_notes(outcome.meta).category == "askculinary"
    assert preview(iter([data]))[0].lost == {}
