"""Labelers are asked about a policy in training: by a whole job, killed, resumed, and over."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.domain.plan import RoundPlan
from app.models import Checkpoint, Comparison, FreshComparison, Metric, Prompt, Purpose, Split
from app.services.rounds import fresh_votes
from tests.worker.runs import small
from worker.artifacts import Artifacts
from worker.orders import Interrupted, Orders
from worker.rlhf.policy.stopping import FreshVote
from worker.runs import find
from worker.runs.fresh_votes import LabelerVotes

PLAN: RoundPlan = small.plan(
    policy=replace(
        small.PLAN.policy,
        fresh_votes=2,
        evaluate_every=1,
        epochs=3,
        batch_size=4,
        learning_rate=3e-2,
    )
)
"""Six steps, each with two of three held-out prompts; the last one asks nobody."""


@pytest.fixture
def project_id(database: Database, tmp_path: Path) -> int:
    return small.up_to(database, tmp_path, "policy", PLAN)


def counts(database: Database) -> dict[tuple[int, bool], int]:
    """Return how many fresh comparisons there are, by step and whether they were withdrawn."""
    query = (
        select(FreshComparison.step, Comparison.is_withdrawn, func.count())
        .join(Comparison, Comparison.id == FreshComparison.comparison_id)
        .group_by(FreshComparison.step, Comparison.is_withdrawn)
    )
    with database.reader() as session:
        return {(step, gone): count for step, gone, count in session.execute(query)}


def test_votes_are_asked_for_read_drawn_and_put_on_the_card(
    database: Database, tmp_path: Path, project_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LabelerVotes.read
    judged: list[int] = []

    def read_after_judging(self: LabelerVotes) -> Mapping[int, Sequence[FreshVote]]:
        if len(judged) < 3:  # the rest wait until the training is over
            judged.append(small.judge(database, project_id, most=1))
        return read(self)

    monkeypatch.setattr(LabelerVotes, "read", read_after_judging)
    context = small.claimed(database, tmp_path)
    find("policy")(context)
    with database.reader() as session:
        asked = session.scalars(select(Comparison).where(Comparison.purpose == Purpose.FRESH)).all()
        splits = set(
            session.scalars(
                select(Prompt.split).where(Prompt.id.in_([one.prompt_id for one in asked]))
            )
        )
        votes = fresh_votes.votes(session, context.job_id)
        curve = session.execute(
            select(Metric.step, Metric.value).where(Metric.name == "fresh/votes")
        ).all()
        shares = session.scalars(select(Metric.value).where(Metric.name == "fresh/share")).all()
        model = session.scalars(select(Checkpoint).order_by(Checkpoint.id.desc())).first()
    assert asked
    assert splits == {Split.VALIDATION}
    assert all(one.overlap == 1 and one.round_id for one in asked)
    assert sum(judged) == len(votes) > 0
    assert [value for _, value in sorted(curve)] == sorted(value for _, value in curve)
    assert shares
    assert model is not None
    card = Artifacts(str(tmp_path / "artifacts"), tmp_path / "cache").fetch(model.uri, model.sha256)
    assert f"Fresh votes while it trained: {len(votes)}." in (card / "README.md").read_text()
    unanswered = [one for one in asked if one.done_slots == 0]
    assert unanswered
    assert all(one.is_withdrawn for one in unanswered)
    assert not any(one.is_withdrawn for one in asked if one.done_slots)


def test_a_killed_job_asks_nothing_twice(
    database: Database, tmp_path: Path, project_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = Orders()
    ask = LabelerVotes.ask
    steps: list[int] = []

    def ask_and_stop(self: LabelerVotes, step: int, pairs: Sequence[object]) -> int:
        steps.append(step)
        if len(steps) == 3:
            orders.give("preempt")
        return ask(self, step, pairs)  # type: ignore[arg-type]

    monkeypatch.setattr(LabelerVotes, "ask", ask_and_stop)
    context = small.claimed(database, tmp_path, orders)
    with pytest.raises(Interrupted):
        find("policy")(context)
    before = counts(database)
    assert len(before) == 3
    context.interrupt()
    for state in context.workdir.glob("state-*"):  # killed, it starts from the beginning
        shutil.rmtree(state)
    find("policy")(small.claimed(database, tmp_path))
    after = counts(database)
    assert {step for step, _ in after} > {step for step, _ in before}
    assert all(after[step, True] == count for (step, _), count in before.items())
