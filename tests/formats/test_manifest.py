import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.formats.manifest import Counts, ExportTally, Manifest


def manifest(
    rows: list[bytes], excluded: dict[str, int], title: str = "t", **more: Any
) -> Manifest:
    """Return the manifest of rows, each from a comparison, and of excluded comparisons."""
    account, counts = ExportTally(), Counts()
    assert list(account.counted(rows)) == rows
    counts.comparisons.considered = counts.comparisons.exported = len(rows)
    for reason, count in excluded.items():
        counts.comparisons.skip(reason, count)
    return account.manifest(title, "hh", more.pop("filter", {}), counts, **more)


@given(st.lists(st.binary(min_size=1)), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)))
def test_every_comparison_is_accounted_for(rows: list[bytes], excluded: dict[str, int]) -> None:
    found = manifest(rows, excluded)
    unit = found.to_json()["counts"]["comparisons"]
    assert unit["considered"] == len(rows) + sum(excluded.values())
    assert unit["considered"] == unit["exported"] + sum(unit["excluded"].values())
    assert found.content_sha256 == hashlib.sha256(b"".join(rows)).hexdigest()
    assert found.size_bytes == len(b"".join(rows))


def test_manifest_names_each_reason_most_frequent_first() -> None:
    found = manifest(
        [b"x\n"],
        {"tied": 2, "below the minimum agreement": 5},
        filter={"splits": "train", "rounds": 2},
        guidelines_versions=[3, 1, 3],
    )
    values = json.loads(found.encode())
    excluded = values["counts"]["comparisons"]["excluded"]
    assert list(excluded.items()) == [("below the minimum agreement", 5), ("tied", 2)]
    assert values["filter"] == {"rounds": 2, "splits": "train"}
    assert values["guidelines_versions"] == [1, 3]
    assert found.summary == (
        "1 row from 1 of 8 comparisons. Excluded: 5 comparisons: below the minimum agreement; "
        "2 comparisons: tied."
    )


def test_empty_export_is_explained() -> None:
    assert manifest([], {}).summary == "0 rows: the project has no comparisons."
    assert "Excluded: 3 comparisons: tied." in manifest([], {"tied": 3}).summary
    assert "Excluded: 1 comparison: tied." in manifest([], {"tied": 1}).summary


def test_same_data_same_manifest() -> None:
    def once(order: list[str]) -> bytes:
        return manifest([b"a\n"], dict.fromkeys(order, 1), checkpoints=order).encode()

    assert once(["x", "y"]) == once(["y", "x"])


@pytest.mark.parametrize("name", ["comparisons", "judgments", "pairs", "demonstrations"])
def test_units_that_do_not_add_up_are_refused(name: str) -> None:
    counts = Counts()
    unit = getattr(counts, name)
    unit.considered, unit.exported = 9, 5
    unit.exclude("tied", 3)
    with pytest.raises(Invalid, match=f"8 of 9 {name} are accounted for"):
        ExportTally().manifest("t", "hh", {}, counts)


def test_card_says_what_a_reader_needs() -> None:
    card = manifest(
        [b"x\n"],
        {"tied": 2},
        title="Help\n# desk",
        filter={"splits": "train", "min_agreement": 0.6},
        checkpoints=["base|1"],
        licence="MIT",
    ).card()
    assert card.startswith("# Help # desk\n")
    for part in (
        "| Format | hh |",
        "| Rows | 1 |",
        "base\\|1",
        "| Comparisons | 3 | 1 | 2 |",
        "- 2 comparisons: tied",
        "- Splits: train",
        "- Minimum agreement: 0.6",
        "MIT",
    ):
        assert part in card


def test_the_versions_of_the_instruction_are_in_the_manifest_and_on_the_card() -> None:
    texts = {2: "Be\nkind.", 0: "", 1: ""}
    found = manifest([b"a\n"], {}, instructions=texts, divided_by_instruction=3)
    assert json.loads(found.encode())["instructions"] == {"0": "", "1": "", "2": "Be\nkind."}
    card = found.card()
    assert "- Version 1: no instruction\n- Version 2: Be kind.\n" in card
    assert "- Judgments from files: no instruction of this project" in card
    assert "3 comparisons were judged under several versions" in card
