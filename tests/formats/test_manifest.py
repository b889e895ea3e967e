import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.formats.manifest import ExportTally


def tally(rows: list[bytes], excluded: dict[str, int]) -> ExportTally:
    account = ExportTally()
    for reason, count in excluded.items():
        account.exclude(reason, count)
    assert list(account.counted(rows)) == rows
    return account


@given(st.lists(st.binary(min_size=1)), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)))
def test_every_row_is_accounted_for(rows: list[bytes], excluded: dict[str, int]) -> None:
    found = tally(rows, excluded).manifest("t", "hh", {})
    assert found.considered == len(rows) + sum(excluded.values())
    assert found.content_sha256 == hashlib.sha256(b"".join(rows)).hexdigest()
    assert found.size_bytes == len(b"".join(rows))


def test_manifest_names_each_reason_most_frequent_first() -> None:
    found = tally([b"x\n"], {"ties": 2, "below the minimum agreement": 5}).manifest(
        "Help desk", "hh", {"split": "train", "round": 2}, guidelines_versions=[3, 1, 3]
    )
    values = json.loads(found.encode())
    assert list(values["excluded"].items()) == [("below the minimum agreement", 5), ("ties", 2)]
    assert values["filter"] == {"round": 2, "split": "train"}
    assert values["guidelines_versions"] == [1, 3]
    assert found.summary == (
        "1 of 8 rows are in the export. Excluded: 5 below the minimum agreement; 2 ties."
    )


def test_empty_export_is_explained() -> None:
    assert tally([], {}).manifest("t", "hh", {}).summary == "0 rows: nothing matched the filter."
    assert "Excluded: 3 ties" in tally([], {"ties": 3}).manifest("t", "hh", {}).summary


def test_same_data_same_manifest() -> None:
    def once(order: list[str]) -> bytes:
        account = tally([b"a\n"], dict.fromkeys(order, 1))
        return account.manifest("t", "hh", {}, checkpoints=order).encode()

    assert once(["x", "y"]) == once(["y", "x"])


def test_rows_that_do_not_add_up_are_refused() -> None:
    found = tally([b"a\n"], {}).manifest("t", "hh", {})
    values = {name: getattr(found, name) for name in found.__slots__}
    with pytest.raises(Invalid, match="1 of 9 rows are accounted for"):
        type(found)(**{**values, "considered": 9})


def test_card_says_what_a_reader_needs() -> None:
    card = (
        tally([b"x\n"], {"ties": 2})
        .manifest("Help\n# desk", "hh", {"split": "train"}, checkpoints=["base|1"], licence="MIT")
        .card()
    )
    assert card.startswith("# Help # desk\n")
    for part in (
        "| Format | hh |",
        "| Rows | 1 |",
        "base\\|1",
        "- ties: 2",
        "- split: train",
        "MIT",
    ):
        assert part in card


def test_the_versions_of_the_instruction_are_in_the_manifest_and_on_the_card() -> None:
    found = tally([b"a\n"], {}).manifest(
        "t", "hh", {}, instructions={2: "Be\nkind.", 0: "", 1: ""}, divided_by_instruction=3
    )
    assert json.loads(found.encode())["instructions"] == {"0": "", "1": "", "2": "Be\nkind."}
    card = found.card()
    assert "- Version 1: no instruction\n- Version 2: Be kind.\n" in card
    assert "- Judgments from files: no instruction of this project" in card
    assert "3 comparisons were judged under several versions" in card
