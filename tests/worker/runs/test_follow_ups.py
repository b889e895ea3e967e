"""A round on prompts whose second question is asked after the model's own first response."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session
from transformers import AutoModelForCausalLM

from app.db import Database
from app.domain import earlier_turns
from app.domain.instruction_text import InstructionText
from app.domain.splits import content_hash
from app.domain.states import RoundState
from app.formats import training_rows
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonCompletion,
    Completion,
    Evaluation,
    Export,
    Job,
    Project,
    Prompt,
)
from app.services.checkpoints import checkpoints
from app.services.queue import comparisons
from app.services.rounds import completion_pairs, round_progress, rounds
from tests.services import sample_votes
from tests.worker.rlhf.chat_models import FAMILIES
from tests.worker.runs import small
from worker.rlhf.model import models
from worker.runs import judge
from worker.runs.data import checkpoint_weights, sampled_completions
from worker.runs.data.sampled_completions import Draw
from worker.training import token_ids

AGAIN = "Say it shorter."
PLAN = small.plan(
    sft=replace(small.SFT, lora=small.LORA, max_steps=1),
    mix_share=0.0,
    prompts=6,
    evaluation=replace(small.PLAN.evaluation, prompts=4),
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Save a model whose template has no system turn, and refuses two user turns in a row."""
    loaded = FAMILIES["alternating"].loaded()
    loaded.model.save_pretrained(tmp_path / "base")
    loaded.tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def make_project(session: Session, base: Path, *, without: int = 0) -> Project:
    """Make a project all of whose prompts have a follow-up, but the first ones."""
    project = small.make_project(session, base_model=str(base))
    for number, prompt in enumerate(session.scalars(select(Prompt).order_by(Prompt.id)).all()):
        if number >= without:
            prompt.follow_up = [AGAIN]
            question = ("user", str(prompt.messages[0]["content"]))
            prompt.content_hash = content_hash([question, ("user", AGAIN)])
    return project


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
def test_a_round_asks_judges_and_trains_second_turns(
    any_database: Database, tmp_path: Path, base: Path
) -> None:
    with any_database.transaction() as session:
        project = make_project(session, base, without=3)
        round_id = rounds.launch(session, project, PLAN, None).id
    small.run_jobs(any_database, tmp_path)
    with any_database.reader() as session:
        for completion, prompt in completions_of(session):
            assert earlier_turns.follow_ups(completion.earlier) == tuple(prompt.follow_up)
        firsts = {
            (completion.prompt_id, *earlier_turns.responses(completion.earlier))
            for completion, prompt in completions_of(session)
            if prompt.follow_up
        }
        followed = sum(bool(prompt.follow_up) for _, prompt in completions_of(session))
        assert followed
        assert len(firsts) == followed, "each candidate has a first response of its own"

    small.judge(any_database, project.id)
    small.run_jobs(any_database, tmp_path)
    small.judge(any_database, project.id)
    with any_database.reader() as session:
        round_ = round_progress.get(session, project.id, 1)
        assert round_.state == RoundState.DECIDING, round_.reason
        evaluation = session.scalars(select(Evaluation)).one()
        pairs = completion_pairs.of_evaluation(session, evaluation)
        assert pairs
        assert all(
            earlier_turns.follow_ups(each.new.earlier) == tuple(each.prompt.follow_up)
            for each in pairs
        )
        policy = session.scalars(
            select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        ).one()
        jobs = {job.kind: job for job in session.scalars(select(Job))}
        remarks = " ".join((jobs["policy"].result or {})["remarks"])
        assert "of 8 training prompts have follow-ups" in remarks
        export = session.scalars(select(Export)).first()
        assert export is not None
    assert round_id == round_.id
    (rows,) = tmp_path.glob(f"artifacts/**/{Path(export.uri).name}")
    frozen = list(training_rows.read(rows))
    with_own_turns = [row for row in frozen if any(one.earlier for one in row.row.candidates)]
    assert with_own_turns
    folder = next(tmp_path.glob(f"artifacts/**/{Path(policy.uri).name}"))
    AutoModelForCausalLM.from_pretrained(folder)


def test_the_second_turn_is_sampled_behind_the_first_one(
    database: Database, tmp_path: Path, base: Path
) -> None:
    """Its log-probability is that of the sampled ids after the whole conversation."""
    with database.transaction() as session:
        project = make_project(session, base)
        rounds.launch(session, project, PLAN, None)
    context = small.claimed(database, tmp_path)
    with database.reader() as session:
        prompt = session.scalars(select(Prompt)).first()
        assert prompt is not None
    loaded = models.load(str(base))
    checkpoint = base_checkpoint(database, project.id, base)
    answering = checkpoint_weights.answering(context, checkpoint, InstructionText(1, ""))
    draw = Draw(PLAN.sampling, 0, 2)
    (rows,) = sampled_completions.draw(context, answering, [prompt], draw)
    assert [row.sample_index for row in rows] == [0, 1]
    for row in rows:
        assert row.token_ids is not None
        assert row.logprob_sum is not None
        ids = token_ids.prompt_ids(loaded, [*prompt.messages, *row.earlier], "")
        assert logprob(loaded, ids, row.token_ids) == pytest.approx(row.logprob_sum, abs=1e-3)
        without = token_ids.prompt_ids(loaded, prompt.messages, "")
        assert logprob(loaded, without, row.token_ids) != pytest.approx(row.logprob_sum, abs=1e-3)
    (again,) = sampled_completions.draw(context, answering, [prompt], draw)
    assert [row.id for row in again] == [row.id for row in rows]


@torch.no_grad()
def logprob(loaded: models.LoadedModel, prompt: tuple[int, ...], response: list[int]) -> float:
    logits = loaded.model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
    before = logits[len(prompt) - 1 : -1].float().log_softmax(-1)
    return float(before.gather(1, torch.tensor(response)[:, None]).sum())


def base_checkpoint(database: Database, project_id: int, base: Path) -> Checkpoint:
    with database.transaction() as session:
        project = session.get_one(Project, project_id)
        return checkpoints.register_base(session, project, str(base))


def completions_of(session: Session) -> list[tuple[Completion, Prompt]]:
    query = (
        select(Completion, Prompt)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .distinct()
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def test_a_judge_reads_a_response_to_a_follow_up_with_the_turns_before_it(
    database: Database,
) -> None:
    with database.transaction() as session:
        project, _ = sample_votes.make_project(session)
        comparison = sample_votes.make_comparison(session, project)
        for completion in comparisons.completions_of(session, comparison.id):
            completion.earlier = earlier_turns.interleaved([f"First {completion.text}."], [AGAIN])
        session.flush()
        (shown,) = judge._read_shown(session, [comparison.id])
    assert set(shown.responses) == {
        f"[assistant]\nFirst {text}.\n\n[user]\n{AGAIN}\n\n[assistant]\n{text}"
        for text in ("good", "bad")
    }
