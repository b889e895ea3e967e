"""A whole round on an encoder–decoder model from a folder, such as FLAN-T5."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peft import AutoPeftModelForSeq2SeqLM
from sqlalchemy import select
from transformers import AutoTokenizer

from app.db import Database
from app.domain.states import RoundState
from app.models import CheckpointKind, Completion, Prompt
from app.services.rounds import round_progress, rounds
from tests.worker.files import material
from tests.worker.runs import small
from tests.worker.runs.test_loop import run_round


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # PEFT reads a renamed property
def test_a_round_on_a_t5_ends_with_models_that_plain_libraries_load(
    any_database: Database, tmp_path: Path
) -> None:
    base = small.save_tiny_t5(tmp_path / "tiny-t5")
    with any_database.transaction() as session:
        project = small.make_project(session, base_model=str(base))
        sft = replace(small.SFT, lora=small.LORA, batch_size=8, epochs=1)
        rounds.launch(session, project, small.plan(sft=sft), None)

    ran = run_round(any_database, project, tmp_path)

    assert ran == ["sft", "generate", "reward", "policy", "evaluate"]
    with any_database.reader() as session:
        round_ = round_progress.get(session, project.id, 1)
        assert round_.state == RoundState.DECIDING, round_.reason
        made = {each.kind: each for each in round_progress.overview(session, round_).checkpoints}
        first = session.scalars(
            select(Completion).where(Completion.checkpoint_id == made[CheckpointKind.SFT].id)
        ).first()
        assert first is not None
        assert len(first.token_ids or ()) > 0
        turns = session.get_one(Prompt, first.prompt_id).messages
    assert made[CheckpointKind.POLICY].config["training"]["lora"]["targets"] == ["q", "v"]
    assert made[CheckpointKind.REWARD].metrics["shared_prefix"]
    policy = tmp_path / "artifacts" / made[CheckpointKind.POLICY].uri
    model: Any = AutoPeftModelForSeq2SeqLM.from_pretrained(policy)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    text = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Answer shortly."}, *turns], tokenize=False
    )
    assert text == f"Answer shortly.\n\n{turns[0]['content']}</s>"
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert model.generate(input_ids=ids, max_new_tokens=4, do_sample=False).shape[1] > 1
    reward = tmp_path / "artifacts" / made[CheckpointKind.REWARD].uri / "reward"
    assert isinstance(material.score_by_card(reward, turns, "A good one."), float)
