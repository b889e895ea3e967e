"""Each kind of base model goes through the commands and a round; the proof runs all of both."""

from pathlib import Path

import pytest

from app.db import Database
from tests.worker.proofs import base_models
from tests.worker.runs.small import save_tiny_llama
from tests.worker.wholes import commands, loop
from tests.worker.wholes.kinds import KINDS

# PEFT reads a renamed property; the tied weights of a T5 are noted as it is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
ON_SQLITE = ("gpt2", "thinking")
ON_POSTGRES = ("two-ends", "alternating")


@pytest.mark.parametrize("name", KINDS)
def test_commands_leave_models_that_plain_transformers_reads(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    trained = commands.train(kind, kind.save(tmp_path / "base"), tmp_path)
    for folder in trained.generators.values():
        commands.proven(kind, folder)
    assert isinstance(commands.score(kind, trained.reward), float)


@pytest.mark.parametrize("name", ON_SQLITE)
def test_a_round_on_sqlite(name: str, database: Database, tmp_path: Path) -> None:
    _goes_round(name, database, tmp_path)


@pytest.mark.services
@pytest.mark.parametrize("name", ON_POSTGRES)
def test_a_round_on_postgres(name: str, postgres_url: str, tmp_path: Path) -> None:
    database = Database(postgres_url)
    _goes_round(name, database, tmp_path)
    database.dispose()


def test_a_model_that_stops_elsewhere_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="</s>"):
        commands.proven(KINDS["gpt2"], save_tiny_llama(tmp_path))


@pytest.mark.slow
def test_the_proof_holds_for_all_kinds(
    postgres_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = base_models.main(["--postgres", postgres_server])
    said = capsys.readouterr().out
    assert (status, said.count("✓")) == (0, 8 * len(KINDS)), said


def _goes_round(name: str, database: Database, folder: Path) -> None:
    kind = KINDS[name]
    ended = loop.run(database, kind, kind.save(folder / "base"), folder)
    loop.expect(ended, kind)
    commands.proven(kind, ended.policy)
