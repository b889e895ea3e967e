"""Which settings a folder may be continued with."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.plan import RoundPlan
from app.errors import Conflict
from tests.worker.training.test_reward_search import Silent
from worker import artifacts
from worker.files.run_folder import LEASE, WORK, RunFolder


def interrupted(root: Path, identity: dict[str, Any]) -> RunFolder:
    """Return a folder with the settings and a state of a run that has not finished."""
    folder = RunFolder(root, Silent())
    with folder.held(identity):
        artifacts.save_state(root / WORK, LEASE, 5, lambda to: (to / "weights").touch())
    assert folder.newest_state()
    return folder


def test_a_run_of_an_older_version_goes_on_without_the_settings_that_came_later(
    tmp_path: Path,
) -> None:
    identity = {"kind": "sft", "plan": RoundPlan().to_json()}
    folder = interrupted(tmp_path, identity)
    older = json.loads((tmp_path / "run.json").read_text())
    del older["plan"]["parallel"], older["plan"]["policy"]["shares_trunk"]
    (tmp_path / "run.json").write_text(json.dumps(older))
    with folder.held(identity):
        pass
    with (
        pytest.raises(Conflict, match=r"a run with plan\.seed 0, not 4"),
        folder.held({"kind": "sft", "plan": RoundPlan(seed=4).to_json()}),
    ):
        pass
