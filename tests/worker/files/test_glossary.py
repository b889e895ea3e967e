"""docs/learning/glossary.md names every number that a run logs, and no other."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.web import glossary
from tests import judge_server, sampling_server
from tests.sampling_server import BASE_NAME
from tests.worker import published
from tests.worker.files import material
from tests.worker.files.material import SMALL, ok
from tests.worker.rlhf import tiny
from worker.training.model_folders import TRAINING

pytestmark = pytest.mark.xdist_group("glossary")  # one runner needs all that is trained here

# Of the figures of a finished model: reports with many values, and words.
NOT_NUMBERS = {"heldout", "heldout_reason", "stop_reason", "stopped_by_alarm"}
OF_ROUNDS = {
    *("prompts_without_room", "heldout_prompts_without_room"),  # a job counts them
    *("fresh/share", "fresh/share_low", "fresh/share_high", "fresh/pooled"),
    *("fresh/votes", "fresh/asked", "fresh/identical"),  # only a project has labelers to ask
}
NAMED = tuple(
    f"{place}/{kind}/" for place in ("reward", "heldout") for kind in ("part", "share", "amount")
)


def _logged(out: Path, *command: object) -> set[str]:
    """Train and return the names of every step's numbers, and of the finished model's."""
    stdout = ok(*command, "-o", out, "--json").stdout
    events: list[dict[str, Any]] = [json.loads(line) for line in stdout.splitlines()]
    steps = [name for event in events[:-1] for name in event["metrics"]]
    card = json.loads((out / "model" / TRAINING).read_text())
    names = {*steps, *card["metrics"]} - NOT_NUMBERS
    return {_general(name) for name in names}


def _general(name: str) -> str:
    """Return the entry of a metric that is named after a part of the reward."""
    prefix = next((known for known in NAMED if name.startswith(known)), "")
    return f"{prefix}NAME" if prefix else name


@pytest.fixture(scope="module")
def logged(sft: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    root = tmp_path_factory.mktemp("logged")
    demonstrations = material.demonstrations(root / "d.jsonl")
    preferences = material.preferences(root / "p.jsonl")
    prompts = material.prompts(root / "q.jsonl")
    found = _logged(root / "sft", "train", "sft", demonstrations, "-m", base, *SMALL)
    two = ("--ensemble", 2, "--set", 'parts=[{"kind": "length", "longest": 9}]')
    found |= _logged(root / "rm", "train", "reward", preferences, "-m", sft, *SMALL, *two)
    for algorithm in ("ppo", "rloo", "best-of-n"):
        policy = ("train", "policy", prompts, "-m", sft, "-r", root / "rm", "--batch-size", 8)
        more = ("--max-steps", 2, "--max-new-tokens", 6, "--heldout-share", 30)
        found |= _logged(root / algorithm, *policy, *more, "--algorithm", algorithm)
    other = f"classifier:name=kind,model={published.save(root / 'c')},weight=0.5"
    classified = ("--batch-size", 8, "--reward-part", other, *more)
    with sampling_server.serving(tiny.loaded()) as served, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTUNE_ADAPTER_FOLDER", str(root / "adapters"))
        sampler = ("--sampling-server", served.url, "--sampling-model", BASE_NAME)
        found |= _logged(root / "other", *policy[:5], *classified, *sampler)
    with judge_server.serving() as judging:
        judge = f"judge:url={judging.url},model=tiny,rubric=Be brief."
        judged = ("--batch-size", 8, "--reward-part", judge, *more)
        found |= _logged(root / "judged", *policy[:5], *judged)
    found |= _logged(root / "dpo", "train", "dpo", preferences, "-m", sft)
    return found


def test_every_logged_number_is_in_the_glossary(logged: set[str]) -> None:
    assert logged - set(glossary.entries()) == set()


def test_the_glossary_names_nothing_that_is_not_logged(logged: set[str]) -> None:
    assert set(glossary.entries()) - logged - OF_ROUNDS == set()


def test_every_entry_says_what_it_is_and_what_is_bad() -> None:
    for entry in glossary.entries().values():
        assert entry.meaning.endswith(".")
        assert entry.bad.endswith("."), entry.name
