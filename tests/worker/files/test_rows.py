"""Rows of files: what they say, which lines are bad, and which prompts are held out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain import splits
from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats.training_rows import DatasetPrompt, JudgedCompletion
from app.models import Purpose, Split
from app.services.datasets import export_rows
from app.services.datasets.judged_comparisons import (
    ExportOptions,
    JudgedComparison,
    Voted,
    training_row,
)
from tests.worker.files import material
from worker.files import rows
from worker.files.rows import FilePrompt
from worker.files.source import Source
from worker.rlhf.core.examples import AbsoluteFeedback

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


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
    assert "line 4: a prompt without a response" in text


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


def test_a_vote_between_equal_texts_teaches_nothing_and_is_named(tmp_path: Path) -> None:
    models = {"chosen_model": "m1", "rejected_model": "m2"}
    same = {"prompt": "q", "chosen": "yes", "rejected": "yes"} | models
    path = material.write(tmp_path / "p.jsonl", [same, same | {"rejected": "no"}])
    for read in (rows.comparisons, rows.judgments):
        good, bad = read(Source(path, skip_bad=True))
        assert len(good) == 1
        assert [(each.line, each.reason) for each in bad] == [
            (1, "all completions have the same text")
        ]


def test_no_prompt_is_on_both_sides(tmp_path: Path) -> None:
    path = material.prompts(tmp_path / "q.jsonl", 200)
    (found, _), (again, _) = rows.prompts(Source(path)), rows.prompts(Source(path))
    train, heldout = rows.held_out([*found, *again], 20)
    assert not {one.key for one in train} & {one.key for one in heldout}
    assert len(train) + len(heldout) == 400
    assert 40 <= len(heldout) <= 120
    assert rows.held_out(found, 0) == (found, [])


def rated(text: str, *votes: dict[str, list[int]], **more: object) -> dict[str, object]:
    """Return a row of the rich export whose votes rate its two completions."""
    return {
        "kind": "rate",
        "weights": {"clear": 2.0},
        "context": [{"role": "user", "content": text}],
        "completions": [{"text": "a"}, {"text": "b"}],
        "individual_preference": [
            {"labeler": f"l{n}", "ranking": None, "ratings": one} for n, one in enumerate(votes)
        ],
        **more,
    }


def test_ratings_are_means_over_labelers_with_the_weights_of_the_row(tmp_path: Path) -> None:
    row = rated("q", {"clear": [5, 1], "kind": [3, 3]}, {"clear": [4, 2]})
    path = material.write(tmp_path / "rich.jsonl", [row])
    (found,), _ = rows.judgments(Source(path))
    assert found.absolutes == (
        AbsoluteFeedback({"clear": 4.5, "kind": 3.0}),
        AbsoluteFeedback({"clear": 1.5, "kind": 3.0}),
    )
    assert found.weights == {"clear": 2.0}
    assert found.pairs == ()


def test_labels_of_one_completion_become_the_share_of_good_ones(tmp_path: Path) -> None:
    said = [("a", True), ("b", False), ("a", True), ("a", False), ("a", True)]
    path = material.write(
        tmp_path / "u.jsonl",
        [{"prompt": "q", "completion": text, "label": label} for text, label in said],
    )
    found, _ = rows.judgments(Source(path))
    assert [(one.line, one.texts, one.absolutes) for one in found] == [
        (1, ("a",), (AbsoluteFeedback(thumb=0.75),)),
        (2, ("b",), (AbsoluteFeedback(thumb=0.0),)),
    ]


def test_what_our_exports_write_says_what_a_job_learns_from(tmp_path: Path) -> None:
    ratings = [{"clear": (5, 2), "kind": (1, 4)}, {"clear": (3, 3), "kind": (2, 5)}]
    by_ratings = judged_by(
        JudgmentKind.RATE,
        ("one", "two"),
        [voted(n, Ranking((1, 2)), ratings=one) for n, one in enumerate(ratings, 1)],
        {"clear": 2.0, "kind": 1.0},
    )
    thumbs = [voted(n, None, thumb=one) for n, one in enumerate(("up", "down", "up"), 1)]
    by_thumbs = judged_by(JudgmentKind.THUMBS, ("one",), thumbs)
    for comparison, format in ((by_ratings, "rich"), (by_thumbs, "rich"), (by_thumbs, "unpaired")):
        path = tmp_path / f"{format}.jsonl"
        account = export_rows.Account()
        path.write_bytes(
            b"".join(export_rows.write([comparison], format, ExportOptions(), account))
        )
        (found,), _ = rows.judgments(Source(path))
        learned = training_row(comparison)
        assert learned is not None
        assert [(one.ratings, one.thumb) for one in found.absolutes] == [
            (one.ratings, one.thumb) for one in learned.absolutes
        ]
        assert found.weights == learned.weights
        assert [(one.first, one.second, one.share) for one in found.pairs] == [
            (one.first, one.second, one.share) for one in learned.pairs
        ]


def test_bad_ratings_and_labels_are_named_by_line_rule_and_value(tmp_path: Path) -> None:
    good = rated("q", {"clear": [5, 1]})
    heavy = rated("r", {"clear": [5, 1]}, weights={"clear": -3})
    silent = rated("s", kind="pick")
    path = material.write(
        tmp_path / "rich.jsonl", [good, rated("r", {"clear": [5]}), heavy, silent]
    )
    with pytest.raises(Invalid) as caught:
        rows.judgments(Source(path))
    said = str(caught.value)
    assert "3 of 4 rows cannot be used" in said
    assert "line 2: 2 completions have 1 ratings on 'clear'" in said
    assert "line 3: the weight of 'clear' must be 0 or more, not -3" in said
    assert "line 4: no completion was preferred, rated or labeled" in said
    labels = [{"prompt": "q", "completion": "a", "label": one} for one in (True, "yes", True)]
    path = material.write(tmp_path / "u.jsonl", labels)
    with pytest.raises(Invalid, match=r"(?s)1 of 3 rows.*line 2: 'label' must be true or false"):
        rows.judgments(Source(path))


def test_what_by_itself_is_good_or_bad_compares_nothing(tmp_path: Path) -> None:
    path = material.write(
        tmp_path / "u.jsonl", [{"prompt": "q", "completion": "a", "label": True}] * 2
    )
    with pytest.raises(Invalid, match="one completion with a label, not a judged comparison"):
        rows.comparisons(Source(path))


def judged_by(
    kind: JudgmentKind,
    texts: tuple[str, ...],
    votes: list[Voted],
    weights: Mapping[str, float] | None = None,
) -> JudgedComparison:
    prompt = DatasetPrompt(1, ({"role": "user", "content": "q"},), Split.TRAIN, "hash")
    candidates = tuple(
        JudgedCompletion(n, text, None, True, "m", None) for n, text in enumerate(texts, 1)
    )
    return JudgedComparison(
        1, kind, Purpose.TRAIN, 1, prompt, candidates, tuple(votes), None, weights or {}
    )


def voted(
    number: int,
    ranking: Ranking | None,
    *,
    ratings: Mapping[str, tuple[int, ...]] | None = None,
    thumb: str | None = None,
) -> Voted:
    shown = (0,) if thumb else (0, 1)
    fixed = ("", shown, 1, NOON, NOON, 1000)
    name = f"labeler-{number}"
    return Voted(number, name, ranking, None, False, ratings, None, (), *fixed, thumb=thumb)


def test_a_file_of_a_projects_training_split_has_its_share_of_held_out_prompts() -> None:
    keys = [f"{number:064x}" for number in range(2000)]
    of_training = [key for key in keys if splits.split_of(key) is Split.TRAIN]
    prompts = [FilePrompt(number, key, ()) for number, key in enumerate(of_training)]
    train, heldout = rows.held_out(prompts, 20)
    assert 0.17 < len(heldout) / len(prompts) < 0.23
    assert len(train) + len(heldout) == len(prompts)


def test_two_prompts_are_enough_to_hold_one_out() -> None:
    prompts = [FilePrompt(number, f"{number:064x}", ()) for number in range(2)]
    for percent in (1, 90):
        assert [len(part) for part in rows.held_out(prompts, percent)] == [1, 1]
    for one in prompts:
        assert rows.held_out([one], 90) == ([one], [])
    assert rows.held_out([], 20) == ([], [])


def test_a_settled_comparison_of_a_file_trains_on_the_settlement(tmp_path: Path) -> None:
    voted_for_first = {"labeler": "a", "ranking": [1, 2]}
    row = {
        "context": [{"role": "user", "content": "q"}],
        "completions": [{"text": "one"}, {"text": "two"}],
        "individual_preference": [voted_for_first],
    }
    settled = [{**row, "settled": [2, 1]}, {**row, "settled": []}, row]
    path = material.write(tmp_path / "rich.jsonl", settled)
    found, bad = rows.judgments(Source(path, skip_bad=True))
    assert [pair.share for judged in found for pair in judged.pairs] == [0.0, 1.0]
    assert [(one.line, one.reason) for one in bad] == [
        (2, "no completion was preferred, rated or labeled")
    ]
