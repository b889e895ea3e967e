"""What was judged under an instruction, exported, imported elsewhere, and exported again."""

import io
import json

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.models import Project, Prompt, Split
from app.services.datasets import export_rows, imports
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions
from app.services.project import projects, prompts
from app.services.queue import comparisons
from tests.services import sample_votes

PAIRS = [
    *("trl-explicit", "trl-implicit", "trl-explicit-text", "hh", "vertex-rlhf"),
    *("openai-preference", "llama-factory-alpaca", "llama-factory-sharegpt", "unpaired"),
]


def exported(session: Session, project: Project, format: str) -> bytes:
    account = Account()
    options = ExportOptions(aggregate=Aggregate.MAJORITY, splits=tuple(Split))
    judged = sample_votes.judged_rows(session, project.id, options, account.counts)
    return b"".join(export_rows.write(judged, format, options, account))


def judged_project(session: Session) -> Project:
    project, people = sample_votes.make_project(session, instruction="Be brief.")
    for better in ("a", "b"):
        comparison = sample_votes.make_comparison(session, project)
        sample_votes.vote(session, comparison, people[0], preferred=better)
        projects.edit(session, project, {"instruction": "Be kind."}, actor_id=people[0].id)
    return project


@pytest.mark.parametrize("format", PAIRS)
def test_export_import_export_gives_the_same_bytes(session: Session, format: str) -> None:
    first = exported(session, judged_project(session), format)
    assert first.count(b"Be brief.") == first.count(b"Be kind.") > 0
    empty, _ = sample_votes.make_project(session)
    run = imports.run(session, empty, io.BytesIO(first), filename="export.jsonl")
    assert run.counts["judgments_new"] == first.count(b"\n")
    assert exported(session, empty, format) == first


def test_the_rich_format_keeps_votes_and_instructions(session: Session) -> None:
    first = exported(session, judged_project(session), "rich")
    empty, _ = sample_votes.make_project(session)
    imports.run(session, empty, io.BytesIO(first), filename="export.jsonl")
    before, after = (
        [json.loads(line)["context"] for line in data.splitlines()]
        for data in (first, exported(session, empty, "rich"))
    )
    assert before == after
    assert [turns[0]["content"] for turns in after] == ["Be brief.", "Be kind."]


def test_a_project_with_the_same_instruction_adds_it_once(session: Session) -> None:
    first = exported(session, judged_project(session), "trl-explicit")
    same, people = sample_votes.make_project(session, instruction="Be brief.")
    imports.run(session, same, io.BytesIO(first), filename="export.jsonl")
    prompt_id = session.scalars(
        select(Prompt.id).where(Prompt.project_id == same.id).order_by(Prompt.id)
    ).first()
    assert prompt_id is not None
    made = [row.id for row in prompts.completions_of(session, prompt_id)]
    again = comparisons.create(session, same, prompt_id, made, natural_key="again", seed=1)
    sample_votes.vote(session, again, people[0], preferred="a")
    rows = [json.loads(line) for line in exported(session, same, "trl-explicit").splitlines()]
    asked = [row["prompt"] for row in rows]
    assert asked[0] == asked[2]
    assert asked[0][0] == {"role": "system", "content": "Be brief."}


def test_texts_that_labelers_wrote_keep_the_instruction(session: Session) -> None:
    project, people = sample_votes.make_project(
        session, instruction="Be brief.", judgment_kind=JudgmentKind.WRITE, k=0
    )
    comparison = sample_votes.make_comparison(session, project, ())
    sample_votes.vote(session, comparison, people[0], shown_order=(), text="So.")
    row = json.loads(exported(session, project, "demonstrations"))
    assert row["messages"][0] == {"role": "system", "content": "Be brief."}
