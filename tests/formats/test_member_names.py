"""The names of files in an archive: the split they say, and the source of what is in them."""

import io
import zipfile

import pytest

from app import formats
from app.domain.splits import Split
from app.formats import member_names, registry
from app.formats.member_names import split_of
from app.formats.preview import preview

TRAIN, VALIDATION, TEST = Split.TRAIN, Split.VALIDATION, Split.TEST


def archive(*names: str) -> bytes:
    """Return a zip archive with a prompt of its own in each file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(name, f'{{"prompt": "What of {name}?"}}\n')
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", TRAIN),
        ("data/train-00000-of-00001.parquet", TRAIN),
        ("Training_set.csv", TRAIN),
        ("my-val.jsonl", VALIDATION),
        ("dev/part1.jsonl", VALIDATION),
        ("train/test.jsonl", TEST),
        ("helpSteerValidation2.jsonl", VALIDATION),
        ("testSft.jsonl", TEST),
        ("contest.jsonl", None),
        ("trainer.jsonl", None),
        ("train_test.jsonl", None),
        ("test/train_validation.jsonl", None),
        ("prompts.jsonl", None),
    ],
)
def test_a_name_says_one_split_or_none(name: str, split: Split | None) -> None:
    assert split_of(name) is split


@pytest.mark.parametrize(
    ("names", "choice", "splits", "words"),
    [
        (("train.jsonl", "test.jsonl"), None, [TRAIN, TEST], "train.jsonl says train, test.jsonl"),
        (("train.jsonl", "test.jsonl"), False, [], "split by their content, though train.jsonl"),
        (("train.jsonl", "more.jsonl"), None, [], "no file another split"),
        (("train.jsonl", "more.jsonl"), True, [TRAIN], "1 file that says no split are split by"),
        (("a.jsonl", "b.jsonl"), True, [], "No name of a file in the archive says train"),
        (("a.jsonl", "b.jsonl"), None, [], ""),
    ],
)
def test_names_set_the_split_by_choice_or_if_they_say_two(
    names: tuple[str, ...], choice: bool | None, splits: list[Split], words: str
) -> None:
    found = member_names.splits(names, choice)
    assert list(found.by_name.values()) == splits
    assert words in found.remark
    assert bool(words) == bool(found.remark)


def test_records_know_their_file_and_the_preview_says_what_names_are_used_for() -> None:
    data = archive("train.jsonl", "x/test.jsonl", "more.jsonl")
    notes: list[str] = []
    records = [record for _, record in registry.outcomes([data], "zip", notes=notes)]
    assert [(record.member, record.member_split) for record in records] == [  # type: ignore[union-attr]
        ("train.jsonl", TRAIN),
        ("x/test.jsonl", TEST),
        ("more.jsonl", None),
    ]
    first = preview([data])[0]
    assert list(first.said) == notes
    assert notes[0] == member_names.SOURCE_REMARK
    assert "The prompts of 1 file that says no split are split by their content." in notes[1]
    by_content = preview([data], member_splits=False)[0]
    assert "by their content, though train.jsonl says train" in by_content.said[1]


def test_an_archive_of_one_file_is_that_file() -> None:
    (record,) = formats.read([archive("train.jsonl")])
    assert record.member is None  # type: ignore[union-attr]
    assert preview([archive("train.jsonl")])[0].said == (
        "train.jsonl says train, and no file another split, so prompts are split by their content. "
        "To put all of its prompts there, choose that the names of files set the split.",
    )
