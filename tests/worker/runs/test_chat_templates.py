"""A round on a model whose template refuses some prompts: they are left out and named."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.domain.chat_settings import ChatSettings, SystemTurns
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Completion, Job, Project, Prompt, Round, Split
from app.services.rounds import rounds
from tests.worker.rlhf.chat_models import FAMILIES
from tests.worker.runs import small
from worker.runs import sft

PLAN = small.plan(sft=replace(small.SFT, lora=small.LORA, max_steps=1), mix_share=0.0)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    loaded = FAMILIES["alternating"].loaded()
    loaded.model.save_pretrained(tmp_path / "base")
    loaded.tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def launched(database: Database, base: Path, **chat: object) -> int:
    """Launch a round with one train prompt of two user turns in a row; return the prompt's id."""
    with database.transaction() as session:
        project = small.make_project(session, base_model=str(base))
        project.chat = {"system_turns": "fold", **chat}
        prompt = session.scalars(select(Prompt).where(Prompt.split == Split.TRAIN)).first()
        assert prompt is not None
        prompt.messages = [*prompt.messages, *prompt.messages]
        rounds.launch(session, project, replace(PLAN, prompts=10), None)
        return prompt.id


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
def test_refused_prompts_are_left_out_and_named_in_every_stage(
    database: Database, tmp_path: Path, base: Path
) -> None:
    refused = launched(database, base)
    small.run_jobs(database, tmp_path)
    small.judge(database, 1)
    small.run_jobs(database, tmp_path)
    with database.reader() as session:
        jobs = {job.kind: job for job in session.scalars(select(Job))}
        made = {row.kind: row for row in session.scalars(select(Checkpoint))}
        sampled = session.scalar(
            select(func.count(Completion.id)).where(Completion.prompt_id == refused)
        )
    assert sampled == 0
    reason = f"prompt {refused}: turns must alternate between user and assistant"
    for kind in ("sft", "generate", "policy"):
        remarks = " ".join((jobs[kind].result or {})["remarks"])
        assert reason in remarks, kind
        assert "1 " in remarks
    assert made[CheckpointKind.POLICY].config["ends"][0]["token"] == "<end_of_turn>"


def test_a_round_whose_prompts_are_all_refused_says_so_at_its_first_job(
    database: Database, tmp_path: Path, base: Path
) -> None:
    """The project's instruction is a system turn, which this template does not have."""
    launched(database, base, system_turns="refuse")
    context = small.claimed(database, tmp_path)
    with pytest.raises(Invalid, match=r"demonstrations left out.*has no system turn"):
        sft.run(context)


def test_a_round_takes_the_settings_of_the_project_at_its_launch(
    database: Database, base: Path
) -> None:
    launched(database, base, template_arguments={"enable_thinking": False})
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        project.chat = {"system_turns": "refuse"}
    with database.reader() as session:
        plan = session.scalars(select(Round)).one().plan
    assert ChatSettings.from_json(plan["chat"]) == ChatSettings(
        SystemTurns.FOLD, {"enable_thinking": False}
    )
