"""A round that chooses some of its comparisons by the reward model of the round before."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database
from app.domain import choosing
from app.domain.choosing import ChoicePlan, ChoiceRule
from app.models import Comparison, Project, Prompt, Split
from app.services.rounds import choosers, round_progress, rounds
from tests.worker.runs import small


@pytest.mark.parametrize("rule", [ChoiceRule.UNCERTAINTY, ChoiceRule.DISAGREEMENT])
def test_a_second_round_asks_the_worthiest_of_its_pool_beside_random_ones(
    database: Database, tmp_path: Path, rule: ChoiceRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    worths: list[float] = []

    def noted(*given: Any) -> float:
        worths.append(choosing.uncertainty(given[1]))
        return worths[-1]

    monkeypatch.setattr(choosing, "worth", noted)
    project_id = small.up_to(database, tmp_path, "policy")
    with database.transaction() as session:
        first = round_progress.get(session, project_id, 1)
        rounds.cancel(session, first, reason="enough", actor_id=None)
        project = session.get_one(Project, project_id)
        plan = small.plan(prompts=4, choose=ChoicePlan(rule, share=0.5, pool=3))
        second = rounds.launch(session, project, plan, None).id
    assert small.run_jobs(database, tmp_path) == ["generate"]

    with database.reader() as session:
        rows = session.execute(
            select(Comparison.chosen, Prompt.split)
            .join(Prompt, Prompt.id == Comparison.prompt_id)
            .where(Comparison.round_id == second)
        ).all()
        result = small.jobs_of(session, second)["generate"].result
    chosen = [row.chosen for row in rows if row.chosen is not None]
    assert all(row.chosen is None for row in rows if row.split == Split.VALIDATION)
    if rule is ChoiceRule.DISAGREEMENT:  # the reward model is a single one
        assert (chosen, result["chosen"]) == ([], 0)
        assert "needs an ensemble" in result["remarks"][-1]
        return
    assert result["chosen"] == len(chosen) == 2
    assert sum(row.split == Split.TRAIN for row in rows) == 4
    in_order = sorted(chosen, key=lambda one: int(one["place"]))
    assert [one["worth"] for one in in_order] == sorted(worths, reverse=True)[:2]
    assert [one["place"] for one in in_order] == [1, 2]
    assert {(one["rule"], one["pool"], one["model"]) for one in chosen} == {
        ("uncertainty", 6, "Reward 1")
    }


def test_a_first_round_draws_all_at_random_and_says_why(database: Database, tmp_path: Path) -> None:
    with database.transaction() as session:
        project = small.make_project(session)
        plan = small.plan(choose=ChoicePlan(ChoiceRule.UNCERTAINTY))
        launched = rounds.launch(session, project, plan, None).id
    small.run_jobs(database, tmp_path)
    with database.reader() as session:
        result = small.jobs_of(session, launched)["generate"].result
        stored = select(Comparison.chosen).where(Comparison.round_id == launched)
        assert set(session.scalars(stored)) == {None}
    assert result["chosen"] == 0
    assert result["remarks"][-1].endswith(choosers.NO_MODEL)
