"""SFT as a job: how it ended is what is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from app.db import Database
from app.models import Checkpoint, CheckpointKind, Job
from tests.worker.runs import small
from worker.orders import Orders
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.sft import finetuning as imitation
from worker.runs import sft


@pytest.mark.parametrize(
    ("stops", "reason"), [(True, "stopped by a person"), (False, "steps: all ")]
)
def test_the_end_is_told_as_it_was(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stops: bool,
    reason: str,
) -> None:
    small.up_to(database, tmp_path, "sft")
    orders = Orders()
    train = imitation.train

    def stopped_at_once(*arguments: object) -> Iterator[StepReport]:
        for report in train(*arguments):  # type: ignore[arg-type]
            if stops:
                orders.give("stop_here")
            yield report

    monkeypatch.setattr(imitation, "train", stopped_at_once)
    sft.run(small.claimed(database, tmp_path, orders))
    with database.reader() as session:
        row = session.scalars(select(Checkpoint)).one()
        job = session.scalars(select(Job).where(Job.kind == "sft")).one()
    assert row.metrics["stop_reason"].startswith(reason)
    assert job.result is not None
    assert job.result["stop_reason"] == row.metrics["stop_reason"]
    assert (row.metrics["steps"] == 1) is stops


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
def test_the_ends_of_a_response_are_recorded_with_the_model_and_its_base(
    database: Database, tmp_path: Path
) -> None:
    base = small.save_tiny_llama(tmp_path / "tiny-llama")
    plan = small.plan(sft=replace(small.SFT, lora=small.LORA, max_steps=1))
    small.up_to(database, tmp_path, "sft", plan, base_model=str(base))
    sft.run(small.claimed(database, tmp_path))
    with database.reader() as session:
        rows = list(session.scalars(select(Checkpoint)))
    assert {row.kind for row in rows} == {CheckpointKind.BASE, CheckpointKind.SFT}
    assert all(row.config["ends"] == [{"id": 2, "token": "</s>"}] for row in rows)
