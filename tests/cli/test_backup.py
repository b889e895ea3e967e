"""`attune backup`, `restore` and `upgrade`: what they say, and how they end."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.db import Database
from app.errors import AttuneError
from app.settings import load
from tests.services import sample_votes

runner = CliRunner()


@pytest.fixture
def folder(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide an installation with a project, and return the folder beside it."""
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path / "data"))
    settings = load()
    (tmp_path / "data" / "attune.sqlite3").write_bytes(sqlite_template.read_bytes())
    database = Database(settings.database)
    with database.transaction() as session:
        sample_votes.make_project(session, labelers=1)
    database.dispose()
    return tmp_path


def run(*arguments: object, fails: bool = False) -> tuple[dict[str, Any], str]:
    result = runner.invoke(app, [*map(str, arguments)])
    if isinstance(result.exception, AttuneError):
        assert fails, result.exception
        return {}, str(result.exception)
    assert result.exit_code == int(fails), result.output
    lines = result.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {}, " ".join(result.stderr.split())


def test_an_installation_goes_there_and_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, said = run("backup", folder / "a.backup", "--with-secret")
    assert (out["damaged"], out["secret"]) == ([], True)
    assert "artifacts: 0" in said
    assert "--with-secret" not in said
    _, said = run("restore", folder / "a.backup", "--check")
    assert "is whole" in said
    _, said = run("restore", folder / "a.backup", fails=True)
    assert said.endswith("the database is not empty; --replace restores over it and keeps it aside")
    assert _newest() == "the newest is a minute old"
    out, said = run("restore", folder / "a.backup", "--replace")
    assert Path(out["aside"]).is_file()
    assert "Projects: 1; judgments: 0; artifacts written: 0" in said
    assert "Everyone signs in again" in said
    secret = (folder / "data" / "secret").read_bytes()
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(folder / "new"))
    run("restore", folder / "a.backup")
    assert (folder / "new" / "secret").read_bytes() == secret
    assert (folder / "new" / "secret").stat().st_mode & 0o077 == 0


def _newest() -> str:
    found = json.loads(runner.invoke(app, ["doctor", "--json"]).stdout)["findings"]
    message: str = next(one["message"] for one in found if one["name"] == "backup")
    return message


def test_a_folder_of_backups_is_kept_short(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = f"{folder}/backups/"
    out, said = run("backup", to, "--new-key-file", folder / "key")
    assert "Without it the backup cannot be read" in said
    assert "The secret is not in it" in said
    _, said = run("restore", to, "--check", fails=True)
    assert "is encrypted: give the key with --key-file" in said
    run("restore", to, "--check", "--key-file", folder / "key")
    (folder / "words").write_text("too few\n")
    for wrong, reason in (
        (["--keep", "2"], "--keep is for a folder of backups"),
        (["--passphrase-file", folder / "words"], "at least 8 characters, not 7"),
        (["--passphrase-file", folder / "none"], "cannot be read"),
        (["--key-file", folder / "key", "--passphrase-file", folder / "words"], "give one of"),
    ):
        _, said = run("backup", folder / "a.backup", *wrong, fails=True)
        assert reason in said
    older = Path(out["file"]).rename(Path(to) / "attune-20200101T000000Z.backup")
    _, said = run("backup", to, "--keep", "1", "--database-only")
    assert f"Older backups removed: {older.name}" in said
    assert not older.exists()


def test_an_upgrade_says_what_it_does_and_stops_at_what_doctor_finds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, said = run("upgrade")
    assert "already; nothing was done" in said
    run("migrate", "c81f5d2e7a40", "--down")
    out, said = run("upgrade")
    assert Path(out["backup"]).is_file()
    assert "attune upgrade --back undoes it" in said
    out, said = run("upgrade", "--back")
    assert out["revision"] == "c81f5d2e7a40"
    assert "this version would upgrade it again" in said
    monkeypatch.setenv("ATTUNE_JOB_HEARTBEAT_S", "39")
    _, said = run("upgrade", fails=True)
    assert "jobs: ATTUNE_JOB_LEASE_S is 40" in said
