"""SFT as a job: how it ended is what is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.db import Database
from app.models import Checkpoint, Job
from tests.worker.runs import small
from worker.orders import Orders
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.sft import finetuning as imitation
from worker.runs import sft


@pytest.mark.parametrize(("stops", "reason"), [(True, "stopped by a person"), (False, "steps")])
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
    assert row.metrics["stop_reason"] == reason
    assert job.result is not None
    assert job.result["stop_reason"] == reason
    assert (row.metrics["steps"] == 1) is stops
