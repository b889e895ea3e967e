"""Responses to a follow-up, from the labeler's sheet to exports that are imported again."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain import earlier_turns
from app.domain.judgment_kinds import EditBody, JudgmentKind
from app.errors import Invalid
from app.formats import training_rows
from app.models import Comparison, Completion, Project, Prompt, Split
from app.services.checkpoints import results_files, side_by_side
from app.services.checkpoints.side_by_side import PairFilter
from app.services.datasets import demonstrations, export_rows, imports, judged_comparisons
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions
from app.services.judging import labeler_history, labeling, sheets
from app.services.project import prompts
from app.services.queue import comparisons, slot_leases
from tests.services import sample, sample_votes

FIRST, AGAIN = "Describe Hawaii.", "Shorter, please."
SAID = (("A long text.", "A text."), ("An essay.", "Sun."))
WHOLE = ("trl-explicit", "trl-implicit", "hh")
REFUSED = ("vertex-rlhf", "openai-preference", "llama-factory-alpaca", "llama-factory-sharegpt")


@pytest.fixture
def work(any_url: str) -> Iterator[Session]:
    database = Database(any_url)
    with database.transaction() as session:
        yield session
    database.dispose()


def make_comparison(
    session: Session, project: Project, said: tuple[tuple[str, str], ...] = SAID, **options: Any
) -> Comparison:
    new = prompts.NewPrompt((("user", FIRST),), (AGAIN,))
    (prompt,) = prompts.add(session, project, [new]).prompts
    prompt.split = Split.TRAIN
    rows = [
        Completion(
            project_id=project.id,
            prompt_id=prompt.id,
            source="model",
            source_key="test",
            sample_index=at,
            earlier=earlier_turns.interleaved([first], [AGAIN]),
            text=second,
            sampling={},
            created_at=now(session),
        )
        for at, (first, second) in enumerate(said)
    ]
    session.add_all(rows)
    session.flush()
    ids = [row.id for row in rows]
    return comparisons.create(
        session, project, prompt.id, ids, natural_key=f"c-{prompt.id}", seed=1, **options
    )


def judged_project(session: Session) -> Project:
    project, people = sample_votes.make_project(session)
    comparison = make_comparison(session, project)
    sample_votes.vote(session, comparison, people[0], preferred="a")
    return project


def exported(session: Session, project: Project, format: str) -> tuple[bytes, Account]:
    account = Account()
    options = ExportOptions(aggregate=Aggregate.MAJORITY, splits=tuple(Split))
    judged = sample_votes.judged_rows(session, project.id, options, account.counts)
    return b"".join(export_rows.write(judged, format, options, account)), account


@pytest.mark.parametrize("format", [*WHOLE, "unpaired"])
def test_export_import_export_gives_the_same_bytes(work: Session, format: str) -> None:
    first, _ = exported(work, judged_project(work), format)
    rows = [json.loads(line) for line in first.splitlines()]
    assert all(AGAIN in json.dumps(row) and "text." in json.dumps(row) for row in rows[:1])
    empty, _ = sample_votes.make_project(work)
    run = imports.run(work, empty, io.BytesIO(first), filename="export.jsonl")
    assert run.counts["judgments_new"] == len(rows) > 0
    assert exported(work, empty, format)[0] == first


def test_an_imported_pair_is_of_the_mt_bench_prompt(work: Session) -> None:
    project, _ = sample_votes.make_project(work)
    question = {"question_id": 1, "category": "writing", "turns": [FIRST, AGAIN]}
    imports.run(work, project, io.BytesIO(json.dumps(question).encode()), filename="q.jsonl")
    data, _ = exported(work, judged_project(work), "trl-explicit")
    counts = imports.run(work, project, io.BytesIO(data), filename="export.jsonl").counts
    assert (counts["prompts_new"], counts["completions_new"]) == (0, 2)
    again = imports.run(work, project, io.BytesIO(data), filename="again.jsonl").counts
    assert (again["completions_new"], again["judgments_new"]) == (0, 0)
    (prompt,) = work.scalars(select(Prompt).where(Prompt.project_id == project.id))
    assert prompt.follow_up == [AGAIN]


def test_rich_keeps_every_vote_and_the_turns(work: Session) -> None:
    first, _ = exported(work, judged_project(work), "rich")
    empty, _ = sample_votes.make_project(work)
    imports.run(work, empty, io.BytesIO(first), filename="export.jsonl")
    before, after = (
        sorted(json.dumps(one["earlier"]) for one in json.loads(data)["completions"])
        for data in (first, exported(work, empty, "rich")[0])
    )
    assert before == after


@pytest.mark.parametrize("format", REFUSED)
def test_formats_of_one_response_leave_them_out_and_say_why(work: Session, format: str) -> None:
    data, account = exported(work, judged_project(work), format)
    assert not data
    ((reason, count),) = account.counts.comparisons.excluded.items()
    assert count == 1
    assert "trl-explicit, trl-implicit, hh, unpaired and rich can" in reason


def test_an_empty_first_response_is_named_where_it_cannot_be_exported(work: Session) -> None:
    project, people = sample_votes.make_project(work)
    comparison = make_comparison(work, project, (("", "A text."), ("An essay.", "Sun.")))
    sample_votes.vote(work, comparison, people[0], preferred="a")
    data, account = exported(work, project, "unpaired")
    assert not data
    assert dict(account.counts.comparisons.excluded) == {judged_comparisons.EMPTY_BEFORE: 1}


def test_training_rows_hold_the_turns_of_each_completion(work: Session) -> None:
    data, _ = exported(work, judged_project(work), "training")
    row = training_rows.from_json(json.loads(data)).row
    first = {earlier_turns.responses(one.earlier) for one in row.candidates}
    assert first == {(said,) for said, _ in SAID}


def test_a_labeler_sees_each_candidate_with_its_own_first_response(work: Session) -> None:
    project = sample.make_project(work)
    project.chat = {"thought_end": "</think>"}
    (labeler,) = sample.make_labelers(work, project, 1)
    said = (("Hm.</think>A long text.", "A text."), SAID[1])
    comparison = make_comparison(work, project, said, kind=JudgmentKind.PICK)
    assignment = slot_leases.claim(work, sample.SECRET, project, labeler, draw=sample.never_mix())
    assert assignment is not None
    assert assignment.comparison_id == comparison.id
    sheet = sheets.of_assignment(work, assignment)
    expected = {(("assistant", first), ("user", AGAIN), second) for first, second in SAID}
    assert {(*each.earlier, each.text) for each in sheet.candidates} == expected
    assert sheet.messages == (("user", FIRST),)
    labeling.submit(work, project, labeler, sample.submission(assignment))
    (item,) = labeler_history.page(work, project.id, labeler)
    assert {(*each.earlier, each.text) for each in item.candidates} == expected


def test_an_edit_of_a_second_response_is_a_demonstration_after_the_first(work: Session) -> None:
    project = sample.make_project(work, judgment_kind=JudgmentKind.EDIT, k=1)
    (labeler,) = sample.make_labelers(work, project, 1)
    make_comparison(work, project, SAID[:1], kind=JudgmentKind.EDIT)
    assignment = slot_leases.claim(work, sample.SECRET, project, labeler, draw=sample.never_mix())
    assert assignment is not None
    better = sample.submission(assignment, EditBody(text="A good text."))
    labeling.submit(work, project, labeler, better)
    (written,) = demonstrations.written(work, project.id, tuple(Split))
    assert [turn["content"] for turn in written.prompt.messages] == [FIRST, SAID[0][0], AGAIN]
    data, _ = exported(work, project, "demonstrations")
    assert [turn["content"] for turn in json.loads(data)["messages"]] == [
        *(FIRST, SAID[0][0], AGAIN),
        "A good text.",
    ]
    row = json.loads(exported(work, project, "training")[0])
    assert [one["earlier"][0]["content"] for one in row["completions"]] == [SAID[0][0]] * 2


def test_responses_to_different_turns_are_not_compared(work: Session) -> None:
    project, _ = sample_votes.make_project(work)
    comparison = make_comparison(work, project)
    first, second = comparisons.completions_of(work, comparison.id)
    second.earlier = []
    work.flush()
    with pytest.raises(Invalid, match="respond to different follow-ups"):
        comparisons.create(
            work, project, first.prompt_id, [first.id, second.id], natural_key="x", seed=1
        )


def test_results_of_a_file_are_shown_side_by_side_with_both_turns(work: Session) -> None:
    project, _ = sample_votes.make_project(work)
    row = {
        "prompt": FIRST,
        "completions": [{"text": "Sun.", "earlier": earlier_turns.interleaved(["Hm."], [AGAIN])}],
    }
    files = [
        results_files.add(
            work,
            project,
            io.BytesIO(json.dumps(row | {"id": name}).encode()),
            filename=f"{name}.jsonl",
            user_id=None,
        ).file
        for name in ("one", "two")
    ]
    first, second = (f"file-{file.id}" for file in files)
    (pair,) = side_by_side.page(work, project.id, PairFilter(first, second)).pairs
    assert earlier_turns.responses(pair.earlier_first) == ("Hm.",)
    assert pair.is_same
