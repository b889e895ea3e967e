"""Training from an exported file sees the prompts that a round sees."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.instruction_text import InstructionPlace
from app.formats.training_rows import FrozenRow
from app.services.datasets import export_rows, judged_comparisons
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions
from tests.services.datasets.test_export_rows import A_BETTER, comparison, vote
from tests.worker.rlhf import tiny
from worker.files import rows
from worker.files.source import Source
from worker.runs.data import frozen_dataset
from worker.training import token_ids

INSTRUCTION = "Be brief."


@pytest.mark.parametrize("format", ["rich", "trl-explicit", "trl-implicit", "openai-preference"])
@pytest.mark.parametrize("place", ["prompt", "none"])
def test_a_file_gives_the_ids_of_a_round(tmp_path: Path, format: str, place: str) -> None:
    loaded = tiny.loaded()
    judged = replace(
        comparison(vote(1, A_BETTER, instruction_version=1)), instructions={1: INSTRUCTION}
    )
    row = judged_comparisons.training_row(judged)
    assert row is not None
    frozen = FrozenRow(row, judged_comparisons.plain_votes(judged))
    (in_round,) = frozen_dataset.rankings(
        [frozen], loaded, instruction=INSTRUCTION, roots={}, root=1
    )
    path = tmp_path / "export.jsonl"
    options = ExportOptions(instruction=InstructionPlace(place))
    path.write_bytes(b"".join(export_rows.write([judged], format, options, Account())))
    (in_file,), _ = rows.comparisons(Source(path))
    beside = INSTRUCTION if place == "none" else ""
    for option in {beside, INSTRUCTION}:
        assert token_ids.prompt_ids(loaded, in_file.messages, option) == in_round.prompt_ids
