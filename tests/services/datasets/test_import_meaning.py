"""What a file says is kept: who wrote a text, by how much it is better, what is new in it."""

from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db import Database, bulk
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid
from app.formats import training_rows
from app.formats.manifest import Counts
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Criterion,
    Judgment,
    Prompt,
    Split,
)
from app.services.datasets import imported_completions, judged_comparisons
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.project import criteria
from app.services.project.criteria import CriterionSettings
from tests.services import sample_votes
from tests.services.datasets.test_imports import count, exported, lines, make_project, take

ASKED = [{"role": "user", "content": "When is it open?"}]
PAIR = {"prompt": "When?", "chosen": "Nine.", "rejected": "Ten."}
HELPSTEER = {
    "prompt": "When?",
    "response": "Nine.",
    **dict(zip(("helpfulness", "correctness", "coherence"), (0, 4, 3), strict=True)),
}


def battle(first: tuple[str, str], second: tuple[str, str], *ranks: int) -> dict[str, Any]:
    """Return a comparison of two (source, text) by one annotator."""
    completions = [{"source": source, "text": text} for source, text in (first, second)]
    vote = {"labeler": "ann", "ranking": list(ranks)}
    return {"context": ASKED, "completions": completions, "individual_preference": [vote]}


def test_two_models_that_wrote_the_same_text_are_two_completions(any_database: Database) -> None:
    rows = [
        battle(("m1", "Nine."), ("m3", "Ten."), 1, 2),
        battle(("m2", "Nine."), ("m3", "Ten."), 2, 1),
        battle(("m1", "Nine."), ("m2", "Nine."), 1, 1),
    ]
    with any_database.transaction() as session:
        project = make_project(session)
        run = take(session, project, lines(*rows))
        assert (run.rejects, run.counts["judgments_new"]) == ([], 3)
        assert (count(session, Completion), count(session, Comparison)) == (3, 3)
        again = take(session, project, lines(*rows))
        assert again.counts["judgments_new"] == again.counts["completions_new"] == 0


def test_equal_texts_teach_nothing_and_are_left_out_of_exports_with_the_reason(
    session: Session,
) -> None:
    project = make_project(session)
    take(session, project, lines(battle(("m1", "Nine."), ("m2", "Nine."), 1, 2)))
    session.execute(update(Prompt).values(split=Split.TRAIN))
    (judged,) = sample_votes.judged_rows(session, project.id, ExportOptions(), Counts())
    row = judged_comparisons.training_row(judged)
    assert row is not None
    assert row.pairs == ()
    assert exported(session, project, "openai-preference") == b""


@pytest.mark.parametrize("sources", [("m1", "m1"), (None, None), ("m1", None)])
def test_equal_texts_of_one_or_an_unknown_source_are_rejected(
    session: Session, sources: tuple[str | None, str | None]
) -> None:
    row = {
        "context": ASKED,
        "completions": [{"text": "Nine.", "source": source} for source in sources],
        "individual_preference": [{"labeler": "ann", "ranking": [1, 2]}],
    }
    run = take(session, make_project(session), lines(row))
    assert run.counts["rejected"] == 1
    assert "same text" in run.rejects[0]["reason"]


def test_a_text_without_a_source_is_the_one_that_is_there(session: Session) -> None:
    project = make_project(session)
    take(session, project, lines(battle(("m1", "Nine."), ("m2", "Ten."), 1, 2)))
    plain = {"prompt": "When is it open?", "completions": ["Nine.", "Ten."]}
    assert take(session, project, lines(plain)).counts["completions_new"] == 0


def test_labelers_are_shown_a_text_once(session: Session) -> None:
    project = make_project(session, judgment_kind=JudgmentKind.RANK, k=4)
    texts = [("m1", "one"), ("m2", "one"), ("m3", "two")]
    row = {"prompt": "Q?", "completions": [{"source": s, "text": t} for s, t in texts]}
    assert take(session, project, lines(row)).counts["completions_new"] == 3
    assert count(session, ComparisonCompletion) == 2


def test_votes_of_an_import_that_merged_equal_texts_come_in_only_once(session: Session) -> None:
    project = make_project(session)
    rows = [
        battle(("m1", "Nine."), ("m3", "Ten."), 1, 2),
        battle(("m2", "Nine."), ("m4", "Six."), 1, 2),
    ]
    take(session, project, lines(*rows))
    merge_as_first_imports_did(session)
    again = take(session, project, lines(*rows))
    assert (again.rejects, again.counts["judgments_new"]) == ([], 0)
    assert again.counts["comparisons_new"] == 0
    assert again.duplicates[-1] | {"lines": []} == {
        "kind": "judgments",
        "where": "project",
        "count": 2,
        "lines": [],
    }


def merge_as_first_imports_did(session: Session) -> None:
    """Store the completions as before sources were told apart: one per text of a prompt."""
    first: dict[str, int] = {}
    for completion in session.scalars(select(Completion).order_by(Completion.id)):
        kept = first.setdefault(completion.text, completion.id)
        if kept != completion.id:
            session.execute(
                update(ComparisonCompletion)
                .where(ComparisonCompletion.completion_id == completion.id)
                .values(completion_id=kept)
            )
            session.execute(delete(Completion).where(Completion.id == completion.id))
        else:
            digest = completion.source_key.removeprefix(imported_completions.PREFIX)[:64]
            completion.source_key = f"{imported_completions.FIRST_PREFIX}{digest}"
    session.flush()
    for comparison in session.scalars(select(Comparison)):
        ids = session.scalars(
            select(ComparisonCompletion.completion_id).where(
                ComparisonCompletion.comparison_id == comparison.id
            )
        ).all()
        comparison.natural_key = sample_votes.imported_key(comparison, ids)
    session.flush()


@pytest.mark.parametrize(
    "more", [{"margin": 1.5}, {"score_chosen": 4.0, "score_rejected": 2.5}], ids=["own", "scores"]
)
def test_a_margin_is_kept_and_goes_out_again(session: Session, more: dict[str, float]) -> None:
    project = make_project(session)
    take(session, project, lines(PAIR | more))
    assert session.scalars(select(Judgment.margin)).all() == [1.5]
    written = exported(session, project, "trl-explicit")
    assert b'"margin": 1.5' in written
    assert b'"margin": 1.5' in exported(session, project, "rich")
    session.execute(update(Prompt).values(split=Split.TRAIN))
    (judged,) = sample_votes.judged_rows(session, project.id, ExportOptions(), Counts())
    row = judged_comparisons.training_row(judged)
    assert row is not None
    assert [pair.margin for pair in row.pairs] == [1.5]
    read = training_rows.from_json(training_rows.to_json(row, ()))
    assert [pair.margin for pair in read.row.pairs] == [1.5]


def test_judgments_of_earlier_imports_receive_the_margin_they_lost(session: Session) -> None:
    project = make_project(session)
    row = PAIR | {"margin": 2.0}
    take(session, project, lines(row))
    session.execute(update(Judgment).values(margin=None))
    again = take(session, project, lines(row))
    assert (again.counts["judgments_new"], again.counts["margins_new"]) == (0, 1)
    assert session.scalars(select(Judgment.margin)).all() == [2.0]
    assert "margins_new" not in take(session, project, lines(row)).counts


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({"strength": 3}, {"strength": 2}, "with strength 3 before, not with strength 2"),
        ({}, {"strength": 2}, "without a strength before, not with strength 2"),
        ({"margin": 1.5}, {"margin": 2}, "with margin 1.5 before, not with margin 2"),
        ({"ranking": None, "both_bad": True}, {}, "differently before"),
    ],
)
def test_another_strength_or_margin_is_a_contradiction(
    session: Session, first: dict[str, Any], second: dict[str, Any], reason: str
) -> None:
    project = make_project(session)
    row = battle(("m1", "Nine."), ("m2", "Ten."), 1, 2)
    vote = row["individual_preference"][0]
    said = [row | {"individual_preference": [vote | more]} for more in (first, second)]
    take(session, project, lines(said[0]))
    run = take(session, project, lines(said[1]))
    assert run.counts["judgments_new"] == 0
    assert [reject["reason"] for reject in run.rejects] == [
        f"labeler ann has judged these completions {reason}"
    ]


def test_a_file_that_gives_no_strength_contradicts_none(session: Session) -> None:
    project = make_project(session)
    row = battle(("m1", "Nine."), ("m2", "Ten."), 1, 2)
    strong = row["individual_preference"][0] | {"strength": 3}
    take(session, project, lines(row | {"individual_preference": [strong]}))
    assert take(session, project, lines(row)).rejects == []


def test_rows_that_add_nothing_are_counted_by_kind_with_their_lines(any_database: Database) -> None:
    answered = {"prompt": "B?", "completion": "Yes."}
    several = {"prompt": "C?", "completions": ["one", "two"]}
    judged = battle(("m1", "Nine."), ("m2", "Ten."), 1, 2)
    with any_database.transaction() as session:
        project = make_project(session)
        take(session, project, lines({"prompt": "A?"}, answered))
        rows = [{"prompt": "A?"}, {"prompt": "D?"}, {"prompt": "D?"}, {"prompt": "D?"}]
        run = take(session, project, lines(*rows, answered))
        assert run.duplicates == [
            {"kind": "prompts", "where": "file", "count": 2, "lines": [3, 4]},
            {"kind": "prompts", "where": "project", "count": 1, "lines": [1]},
            {"kind": "demonstrations", "where": "project", "count": 1, "lines": [5]},
        ]
        run = take(session, project, lines(several, several))
        assert run.duplicates == [
            {"kind": "completions", "where": "file", "count": 1, "lines": [2]}
        ]
        unjudged = judged | {"individual_preference": []}
        run = take(session, project, lines(judged, unjudged, judged))
        assert [(d["kind"], d["where"], d["lines"]) for d in run.duplicates] == [
            ("comparisons", "file", [2]),
            ("judgments", "file", [3]),
        ]


def test_only_the_first_lines_of_duplicates_are_kept(session: Session) -> None:
    run = take(session, make_project(session), lines(*[{"prompt": "A?"}] * 30))
    (duplicates,) = run.duplicates
    assert (duplicates["count"], len(duplicates["lines"])) == (29, 10)


def rated(session: Session) -> list[str]:
    return sorted({name for found in session.scalars(select(Judgment.ratings)) for name in found})


def test_a_new_criterion_keeps_the_scale_of_its_file(session: Session) -> None:
    project = make_project(session)
    run = take(session, project, lines(HELPSTEER))
    assert run.remarks == []
    scales = session.scalars(select(Criterion.scale)).all()
    assert scales == [[0, 4]] * 3
    assert take(session, project, lines(HELPSTEER)).counts["judgments_new"] == 0


def test_ratings_from_0_to_4_are_never_ratings_on_a_criterion_from_1_to_5(
    session: Session,
) -> None:
    project = make_project(session, judgment_kind=JudgmentKind.RATE)
    criteria.arrange(session, project, [CriterionSettings("helpfulness")], actor_id=None)
    run = take(session, project, lines(HELPSTEER))
    assert rated(session) == ["coherence", "correctness", "helpfulness (0–4)"]
    assert len(run.remarks) == 1
    assert "“helpfulness (0–4)”" in run.remarks[0]
    assert take(session, project, lines(HELPSTEER)).counts["judgments_new"] == 0


def test_labelers_do_not_rate_on_a_criterion_with_another_scale(session: Session) -> None:
    project = make_project(session, judgment_kind=JudgmentKind.RATE)
    take(session, project, lines(HELPSTEER))
    with pytest.raises(Invalid, match="from 0 to 4"):
        criteria.arrange(session, project, [CriterionSettings("helpfulness")], actor_id=None)


def test_criteria_of_imports_before_scales_were_kept_receive_theirs(session: Session) -> None:
    project = make_project(session)
    take(session, project, lines(HELPSTEER))
    session.execute(update(Criterion).values(scale=None))
    session.expire_all()
    again = take(session, project, lines(HELPSTEER))
    assert (again.counts["judgments_new"], again.rejects, again.remarks) == (0, [], [])
    assert rated(session) == ["coherence", "correctness", "helpfulness"]


def test_a_rating_off_its_scale_is_rejected(session: Session) -> None:
    run = take(session, make_project(session), lines(HELPSTEER | {"helpfulness": 7}))
    assert run.rejects[0]["reason"] == "the rating on 'helpfulness' must be 0 to 4, not 7"


def test_a_lookup_finds_pairs_and_not_their_combinations(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = make_project(session)
        take(session, project, lines(*({"prompt": f"{n}?", "completion": "x"} for n in range(3))))
        place = (Prompt.project_id, Prompt.source)
        query = bulk.with_pairs(session, *place, [(project.id, "f.jsonl")], (Prompt.id,))
        assert len(session.execute(query).all()) == 3
        for pair in ((project.id, "other"), (project.id + 1, "f.jsonl")):
            assert (
                session.execute(bulk.with_pairs(session, *place, [pair], (Prompt.id,))).all() == []
            )
