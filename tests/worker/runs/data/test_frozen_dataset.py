from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.vote_shares import TrainingAbsolute
from app.formats.training_rows import JudgedCompletion
from app.models import Export, Project, Prompt, Split, User
from app.services.datasets import exports
from app.services.jobs import job_leases, jobs
from app.services.judging import labeling
from app.services.queue import slot_leases
from tests.services import sample
from tests.worker.rlhf import tiny
from tests.worker.runs import small
from worker.runs.data import frozen_dataset
from worker.runs.process.job_context import JobContext
from worker.training import token_ids
from worker.training.vote_weights import VoteWeights


@pytest.fixture
def project(database: Database) -> Project:
    with database.transaction() as session:
        project = sample.make_project(session, overlap=1)
        sample.make_labelers(session, project, 1)
        for split in (Split.TRAIN, Split.TRAIN, Split.VALIDATION):
            judged(session, project, split)
    return project


def judged(session: Session, project: Project, split: Split) -> None:
    own = session.get_one(Project, project.id)
    comparison = sample.make_comparison(session, own)
    session.get_one(Prompt, comparison.prompt_id).split = split
    labeler = session.scalars(select(User.id)).first()
    assert labeler is not None
    assignment = slot_leases.claim(session, sample.SECRET, own, labeler, draw=sample.never_mix())
    assert assignment is not None
    labeling.submit(session, own, labeler, sample.submission(assignment))


@pytest.fixture
def context(database: Database, tmp_path: Path) -> JobContext:
    with database.transaction() as session:
        jobs.enqueue(session, kind="reward", queue="gpu", payload={})
        claimed = job_leases.claim(session, "w", ["gpu"], lease_s=600)
    assert claimed is not None
    return small.context_of(database, claimed, tmp_path)


def test_what_was_frozen_does_not_change_when_people_judge_on(
    context: JobContext, project: Project, database: Database
) -> None:
    first = frozen_dataset.freeze(context, project.id, "title")
    with database.transaction() as session:
        judged(session, project, Split.TRAIN)
    second = frozen_dataset.freeze(context, project.id, "title")
    assert second.rows == first.rows
    assert second.export.sha256 == first.export.sha256
    with database.reader() as session:
        assert session.scalar(select(func.count(Export.id))) == 1


def test_held_out_votes_measure_and_are_in_no_export(
    context: JobContext, project: Project, database: Database
) -> None:
    data = frozen_dataset.freeze(context, project.id, "title")
    assert (len(data.rows), len(data.heldout)) == (2, 1)
    assert data.heldout[0].row.prompt.split == Split.VALIDATION
    wanted = {one.judgment_id for row in data.rows for one in row.votes}
    with database.reader() as session:
        assert set(exports.judgments(session, data.export.id)) == wanted


def test_foreign_text_is_tokenised_alone_and_ends_if_it_is_finished(
    context: JobContext, project: Project
) -> None:
    data = frozen_dataset.freeze(context, project.id, "title")
    loaded = tiny.loaded()
    tokenizer = loaded.tokenizer
    row = data.rows[0]
    (ranking,) = frozen_dataset.rankings([row], loaded, instruction="", roots={}, root=1)
    for candidate, ids in zip(row.row.candidates, ranking.completions, strict=True):
        assert tokenizer.decode(list(ids[:-1])) == candidate.text
        assert ids[-1] == tokenizer.eos_token_id
    assert [(pair.first, pair.second) for pair in ranking.pairs] == [(0, 1)]


def test_sampled_ids_are_kept_but_not_those_of_another_model() -> None:
    loaded = tiny.loaded()
    tokenizer = loaded.tokenizer
    sampled = JudgedCompletion(
        1, "ab", (7, 8, 9), is_finished=False, source="SFT 1", checkpoint_id=4
    )
    assert token_ids.completion_ids(loaded, sampled, is_ours=True) == (7, 8, 9)
    foreign = token_ids.completion_ids(loaded, sampled, is_ours=False)
    assert tokenizer.decode(list(foreign)) == "ab"
    assert tokenizer.eos_token_id not in foreign


def test_what_was_said_of_one_completion_carries_its_weight(
    context: JobContext, project: Project
) -> None:
    row = frozen_dataset.freeze(context, project.id, "title").rows[0]
    said = (TrainingAbsolute({}, 1.0),) * len(row.row.candidates)
    rated = replace(row, row=replace(row.row, absolutes=said))
    weights = VoteWeights(usual_judgments=2.0)
    (ranking,) = frozen_dataset.rankings(
        [rated], tiny.loaded(), instruction="", roots={}, root=1, weights=weights
    )
    assert {each.weight for each in ranking.absolutes} == {0.5}


def test_the_report_can_be_cut_by_category_where_there_are_any(
    context: JobContext, project: Project, database: Database
) -> None:
    with database.transaction() as session:
        session.scalars(select(Prompt)).first().category = "math"  # type: ignore[union-attr]
    rows = frozen_dataset.freeze(context, project.id, "title").rows
    categories = [row.row.prompt.category for row in rows]
    assert sorted(categories) == ["", "math"]
    rankings = frozen_dataset.rankings(rows, tiny.loaded(), instruction="", roots={}, root=1)
    assert [one.group["category"] for one in rankings] == [each or "(none)" for each in categories]
    plain = [row for row in rows if not row.row.prompt.category]
    (without,) = frozen_dataset.rankings(plain, tiny.loaded(), instruction="", roots={}, root=1)
    assert "category" not in without.group
