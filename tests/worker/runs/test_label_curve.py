"""What more judgments would bring, measured in a round with models fitted to parts of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.db import Database
from app.domain import label_value
from app.domain.plan import RoundPlan
from app.models import CheckpointKind
from app.services.rounds import round_progress
from tests.worker.runs import small
from worker.training import label_curve

ASKED = replace(small.PLAN, reward=replace(small.PLAN.reward, label_value=True))


def metrics_of(database: Database, folder: Path, plan: RoundPlan = ASKED) -> dict[str, object]:
    project_id = small.up_to(database, folder, "policy", plan)
    with database.reader() as session:
        round_ = round_progress.get(session, project_id, 1)
        overview = round_progress.overview(session, round_)
    (made,) = [row for row in overview.checkpoints if row.kind == CheckpointKind.REWARD]
    return made.metrics


def test_a_reward_model_is_measured_with_fewer_comparisons_too(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_value, "COMPARISONS_LEAST", 4)
    fitted: list[int] = []
    fit = label_curve._fit

    def counted(place, inputs, train, *rest):  # type: ignore[no-untyped-def]
        fitted.append(len(train))
        found = fit(place, inputs, train, *rest)
        if len(fitted) == 2:  # an attempt that resumes does not repeat it
            before = sorted((place.workdir / label_curve.FOLDER).iterdir())
            assert [path.name for path in before] == ["1.json"]
        return found

    monkeypatch.setattr(label_curve, "_fit", counted)
    metrics = metrics_of(database, tmp_path)
    assert fitted == [1, 2, 3]
    value = metrics["label_value"]
    people = metrics["people"]
    assert isinstance(value, dict)
    assert isinstance(people, dict)
    assert [point["comparisons"] for point in value["measured"]] == [1, 2, 3, 6]
    assert value["measured"][-1]["accuracy"] == people["accuracy_on_votes"]["value"]
    assert value["doubled"]["comparisons"] == 12
    assert value["doubled"]["low"] <= value["doubled"]["accuracy"] <= value["doubled"]["high"]


def test_too_few_comparisons_are_a_reason(database: Database, tmp_path: Path) -> None:
    # A seed of its own, or the state that the test above has reached would be copied.
    metrics = metrics_of(database, tmp_path, replace(ASKED, seed=ASKED.seed + 1))
    assert "label_value" not in metrics
    assert "from 64 comparisons" in str(metrics["label_value_reason"])
