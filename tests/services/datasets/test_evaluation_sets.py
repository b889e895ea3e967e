"""Evaluation sets: in the test split whatever the hash says, and never a prompt trained on."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.id_set import IdSet
from app.domain.splits import Shares
from app.formats.manifest import Counts
from app.models import Export, ImportRun, Job, Judgment, Project, Prompt, Split
from app.services.datasets import demonstrations, exports, imports, preferences
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.jobs import jobs
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from tests.services.sample_votes import make_project

PREFERENCE = {"prompt": "Open?", "chosen": "Yes.", "rejected": "No."}
DEMONSTRATION = {"prompt": "Shut?", "response": "No."}
COMPLETIONS = {"prompt": "Now?", "completions": [{"text": "a"}, {"text": "b"}]}
ROWS = {"trl": PREFERENCE, "prompts": DEMONSTRATION, "completions": COMPLETIONS}


@pytest.fixture
def project(session: Session) -> Project:
    project, _ = make_project(session)
    prompts.set_shares(session, project, Shares(100, 0, 0))
    return project


def load(
    session: Session, project: Project, rows: Sequence[Any], *, evaluation: bool = True
) -> ImportRun:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return imports.run(
        session,
        project,
        io.BytesIO(data),
        filename="asked.jsonl",
        is_evaluation=evaluation,
    )


def in_split(session: Session, split: Split) -> set[str]:
    rows = session.scalars(select(Prompt).where(Prompt.split == split))
    return {prompt.messages[-1]["content"] for prompt in rows}


def started(session: Session, project: Project, kind: str) -> Job:
    job = jobs.enqueue(session, kind=kind, queue="gpu", payload={}, project_id=project.id)
    job.attempts = 1
    session.flush()
    return job


def test_nothing_of_an_evaluation_set_is_trained_on(session: Session, project: Project) -> None:
    for row in ROWS.values():
        assert load(session, project, [row]).is_evaluation
    assert in_split(session, Split.TRAIN) == set()
    assert in_split(session, Split.TEST) == {"Open?", "Shut?", "Now?"}
    assert demonstrations.every(session, project.id, Split.TRAIN) == []
    assert preferences.read_page(session, project.id, ExportOptions(), Counts()).rows == ()
    tested = ExportOptions(splits=(Split.TEST,))
    assert len(preferences.read_page(session, project.id, tested, Counts()).rows) == 1


def test_a_later_import_leaves_them_there(session: Session, project: Project) -> None:
    load(session, project, [PREFERENCE])
    again = load(session, project, [PREFERENCE, {"prompt": "New?", **PREFERENCE}], evaluation=False)
    assert not again.is_evaluation
    assert in_split(session, Split.TEST) == {"Open?"}


def test_known_prompts_move_with_the_conversations_they_begin(
    session: Session, project: Project
) -> None:
    turns = [
        {"role": r, "content": c} for r, c in [("user", "Q"), ("assistant", "A"), ("user", "R")]
    ]
    load(
        session, project, [{"prompt": "Q"}, {"messages": turns}, {"prompt": "S"}], evaluation=False
    )
    run = load(session, project, [{"messages": turns}])
    assert run.counts["prompts_moved"] == 2
    assert run.rejects == []
    assert (in_split(session, Split.TRAIN), in_split(session, Split.TEST)) == ({"S"}, {"Q", "R"})
    marked = session.scalars(select(Prompt).where(Prompt.is_evaluation)).all()
    assert [prompt.messages[-1]["content"] for prompt in marked] == ["R"]
    assert load(session, project, [{"messages": turns}]).counts["prompts_moved"] == 0


def test_prompts_a_policy_saw_are_rejected_by_line(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        prompts.set_shares(session, project, Shares(100, 0, 0))
        load(session, project, [{"prompt": "Old?"}], evaluation=False)
    with any_database.transaction() as session:
        project = session.get_one(Project, project.id)
        job = started(session, project, "policy")
    with any_database.transaction() as session:
        project = session.get_one(Project, project.id)
        load(session, project, [{"prompt": "Newer?"}], evaluation=False)
        run = load(session, project, [{"prompt": "Newer?"}, {"prompt": "Old?"}, {"prompt": "New?"}])
        (reject,) = run.rejects
        old = session.scalars(select(Prompt).where(Prompt.split == Split.TRAIN)).one()
        assert reject["line"] == 2
        assert reject["reason"] == (
            f"the prompt is prompt {old.id} of the train split, and job {job.id} trained a policy "
            f"on the prompts of that split; it cannot be evaluated on"
        )
        assert in_split(session, Split.TEST) == {"Newer?", "New?"}


def test_a_job_that_has_not_started_has_trained_nothing(session: Session, project: Project) -> None:
    load(session, project, [{"prompt": "Q"}], evaluation=False)
    for kind in ("policy", "sft"):
        started(session, project, kind).attempts = 0
    started(session, project, "generate")
    session.flush()
    assert load(session, project, [{"prompt": "Q"}]).rejects == []


def test_demonstrations_of_an_sft_stay_in_training(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        prompts.set_shares(session, project, Shares(100, 0, 0))
        load(session, project, [DEMONSTRATION, {"prompt": "Free?"}], evaluation=False)
    with any_database.transaction() as session:
        project = session.get_one(Project, project.id)
        started(session, project, "sft")
        run = load(session, project, [{"prompt": "Free?"}, DEMONSTRATION])
        (reject,) = run.rejects
        assert reject["line"] == 2
        assert "trained the SFT model on its demonstrations" in reject["reason"]
        assert in_split(session, Split.TEST) == {"Free?"}


@pytest.mark.parametrize("format", ["training", "rich"])
def test_prompts_of_a_training_export_stay_and_an_archive_does_not_matter(
    session: Session, project: Project, format: str
) -> None:
    load(session, project, [PREFERENCE], evaluation=False)
    export = Export(
        project_id=project.id, number=4, format=format, options={}, created_at=now(session)
    )
    session.add(export)
    session.flush()
    vote = session.scalars(select(Judgment)).one()
    exports.link(session, export, IdSet([vote.id]))
    session.flush()
    turns = [
        {"role": r, "content": c} for r, c in [("user", "Open?"), ("assistant", "A"), ("user", "R")]
    ]
    run = load(session, project, [{"messages": turns}])
    if format == "rich":
        assert run.rejects == []
        return
    (reject,) = run.rejects
    assert reject["reason"].startswith("the conversation begins like prompt")
    assert "its judgments are in export 4" in reject["reason"]
    assert in_split(session, Split.TEST) == set()


def test_an_evaluation_prompt_is_marked_in_new_rows(session: Session, project: Project) -> None:
    given = NewPrompt((("user", "Q"),))
    assert prompts.add(session, project, [given], is_evaluation=True).prompts[0].is_evaluation
