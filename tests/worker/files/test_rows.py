"""Rows of files: what they say, which lines are bad, and which prompts are held out."""

from pathlib import Path

import pytest

from app.errors import Invalid
from tests.worker.files import material
from worker.files import rows
from worker.files.source import Source


def test_a_bad_line_is_named_with_its_number_and_reason(tmp_path: Path) -> None:
    path = material.write(
        tmp_path / "d.jsonl",
        [
            {"prompt": "one", "completion": "1"},
            "{not json",
            {"prompt": "", "completion": "2"},
            {"prompt": "three"},
        ],
    )
    with pytest.raises(Invalid) as caught:
        rows.demonstrations(Source(path))
    text = str(caught.value)
    assert "3 of 4 rows cannot be used" in text
    assert "line 2: not JSON" in text
    assert "line 3: turn 1 of the prompt is empty" in text
    assert "line 4: a prompt without an answer" in text


def test_bad_lines_are_left_out_where_that_was_asked_for(tmp_path: Path) -> None:
    path = material.write(tmp_path / "d.jsonl", [{"prompt": "one", "completion": "1"}, "{"])
    good, bad = rows.demonstrations(Source(path, skip_bad=True))
    assert [one.text for one in good] == ["1"]
    assert [one.line for one in bad] == [2]


def test_a_file_without_what_is_wanted_is_refused_though_bad_lines_may_go(tmp_path: Path) -> None:
    path = material.prompts(tmp_path / "q.jsonl")
    with pytest.raises(Invalid, match="holds no judged comparisons"):
        rows.comparisons(Source(path, skip_bad=True))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"there is no file .*none\.jsonl"):
        rows.prompts(Source(tmp_path / "none.jsonl"))


def test_every_pair_of_a_ranking_is_judged_and_ties_are_halves(tmp_path: Path) -> None:
    row = {
        "context": [{"role": "user", "content": "q"}],
        "completions": [{"text": "a"}, {"text": "b"}, {"text": "c"}],
        "individual_preference": [
            {"labeler": "x", "ranking": [1, 2, 2]},
            {"labeler": "y", "ranking": [2, 1, 3]},
        ],
    }
    path = material.write(tmp_path / "rich.jsonl", [row])
    (found,), _ = rows.comparisons(Source(path))
    assert {(p.first, p.second): p.share for p in found.pairs} == {
        (0, 1): 0.5,
        (0, 2): 1.0,
        (1, 2): 0.75,
    }


def test_a_margin_of_the_file_is_kept(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "yes", "rejected": "no", "margin": 1.5}
    (found,), _ = rows.comparisons(Source(material.write(tmp_path / "p.jsonl", [row])))
    assert [(p.first, p.second, p.share, p.margin) for p in found.pairs] == [(0, 1, 1.0, 1.5)]


def test_no_prompt_is_on_both_sides(tmp_path: Path) -> None:
    path = material.prompts(tmp_path / "q.jsonl", 200)
    (found, _), (again, _) = rows.prompts(Source(path)), rows.prompts(Source(path))
    train, heldout = rows.held_out([*found, *again], 20)
    assert not {one.key for one in train} & {one.key for one in heldout}
    assert len(train) + len(heldout) == 400
    assert 40 <= len(heldout) <= 120
    assert rows.held_out(found, 0) == (found, [])
