"""Which rows of a file are held out, and how the command says so."""

from pathlib import Path
from typing import Any, cast

import pytest

from app.domain.plan import RoundPlan
from tests.worker.files import material
from worker.files import rows
from worker.files.run_folder import RunFolder
from worker.files.source import Source
from worker.files.training_request import RowSplit, TrainingRequest


class Folder:
    """Collects what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def rich(number: int, split: str | None) -> dict[str, Any]:
    return {
        "context": [{"role": "user", "content": f"What is {number}?"}],
        "completions": [{"text": "one"}, {"text": "two"}],
        "individual_preference": [{"labeler": "a", "ranking": [1, 2]}],
        **({} if split is None else {"split": split}),
    }


def read(path: Path, percent: int | None) -> tuple[RowSplit, str]:
    request = TrainingRequest("reward", "m", Source(path), RoundPlan(), heldout_percent=percent)
    folder = Folder()
    split = request.read(rows.judgments, cast(RunFolder, folder))
    (sentence,) = folder.said
    return split, sentence


@pytest.mark.parametrize("percent", [20, None])
def test_a_file_of_the_training_split_alone_holds_out_its_share(
    tmp_path: Path, percent: int | None
) -> None:
    path = material.write(tmp_path / "d.jsonl", [rich(number, "train") for number in range(60)])
    split, sentence = read(path, percent)
    assert 1 <= len(split.heldout) <= 25
    assert sentence.startswith(f"{len(split.heldout)} of 60 rows are held out")
    assert f"{percent or 10} percent by content" in sentence
    assert ("overrides the splits of the file (train 60)" in sentence) == (percent == 20)


def test_the_splits_of_a_file_hold_unless_a_share_is_asked_for(tmp_path: Path) -> None:
    stated = ["train"] * 6 + ["validation"] * 3 + ["test"]
    path = material.write(tmp_path / "d.jsonl", [rich(n, one) for n, one in enumerate(stated)])
    split, sentence = read(path, None)
    assert {row.split for row in split.train} == {"train"}
    assert [row.split for row in split.heldout] == ["validation"] * 3
    assert sentence == (
        "3 of 10 rows are held out: those that the file states as validation; "
        "1 that it states as another split are left out."
    )
    split, sentence = read(path, 50)
    assert len(split.train) + len(split.heldout) == 10
    assert "overrides the splits of the file (test 1, train 6, validation 3)" in sentence


def test_one_prompt_is_not_held_out_and_the_command_says_so(tmp_path: Path) -> None:
    path = material.write(tmp_path / "d.jsonl", [rich(1, None)])
    split, sentence = read(path, 20)
    assert (len(split.train), split.heldout) == (1, [])
    assert "a file with one prompt has none to spare" in sentence
