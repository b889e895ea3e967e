"""The command line: thin, but its sentences and exit codes are what scripts rely on."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app.cli import console, main
from app.cli.main import app
from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid, NotFound
from app.models import Prompt, Split
from app.services.people.accounts import users
from app.services.project import projects
from app.settings import load
from tests.services.sample_votes import make_comparison, vote

runner = CliRunner()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path / "data"))


def _run(*arguments: str) -> str:
    result = runner.invoke(app, arguments)
    assert result.exception is None, result.exception
    return result.stdout


def test_every_command_of_the_product_is_there() -> None:
    shown = _run("--help")
    for name in ("up", "serve", "worker", "demo", "simulate", "import", "export", "migrate"):
        assert f" {name} " in shown
    for name in ("user", "token", "doctor"):
        assert f" {name} " in shown


def test_a_command_of_the_table_is_registered_by_its_module() -> None:
    for name, sources in main._sources().items():
        for source in sources:
            assert name in source.load().commands
        if name in main.COMMANDS:
            assert sources[0].help.endswith("."), name


def test_brackets_in_an_error_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        console.fail("install attune[worker]")
    assert "install attune[worker]" in capsys.readouterr().err


def test_an_account_made_here_can_get_a_token() -> None:
    made = json.loads(_run("user", "add", "ada@example.org", "--admin").splitlines()[-1])
    assert len(made["password"]) >= 10
    token = json.loads(_run("token", "add", "ada@example.org", "--scope", "read"))
    assert token["token"].startswith("att_")


def test_an_unknown_account_is_named() -> None:
    result = runner.invoke(app, ["token", "add", "nobody@example.org", "--scope", "read"])
    assert isinstance(result.exception, NotFound)
    assert "nobody@example.org" in str(result.exception)


def test_an_unknown_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_DATABSE_URL", "sqlite://")
    with pytest.raises(Invalid, match="ATTUNE_DATABSE_URL"):
        load()


def test_no_secret_is_made_up_for_a_shared_database(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    monkeypatch.setenv("ATTUNE_DATABASE_URL", sqlite_url)
    with pytest.raises(Invalid, match="ATTUNE_SECRET_KEY must be set"):
        _ = load().secret


def test_the_generated_secret_stays_and_is_the_owners_alone() -> None:
    first = load()
    assert first.secret == load().secret
    assert (first.data_dir / "secret").stat().st_mode & 0o777 == 0o600


def test_migrate_goes_both_ways() -> None:
    assert "revision none" not in runner.invoke(app, ["migrate"]).output
    assert "revision none" in runner.invoke(app, ["migrate", "--down", "base"]).output


def test_files_come_in_and_bad_lines_are_written_out(tmp_path: Path) -> None:
    _run("user", "add", "ada@example.org", "--admin")
    database = Database(load().database)
    with database.transaction() as session:
        owner = users(session)[0]
        projects.create(session, name="Desk", owner=owner, judgment_kind=JudgmentKind.PICK)
    database.dispose()
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "When do you open?"}\nnot json\n{"prompt": ""}\n')
    out = json.loads(_run("import", "desk", str(file), "--rejects", str(tmp_path / "bad.jsonl")))
    assert out["counts"]["rejected"] == 2
    refused = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [one["line"] for one in refused] == [2, 3]
    again = runner.invoke(app, ["import", "desk", str(file)])
    assert "duplicate prompts: 1 already in the project (line 1)" in again.stderr
    (found,) = json.loads(again.stdout)["duplicates"]
    assert (found["kind"], found["where"], found["lines"]) == ("prompts", "project", [1])
    out = json.loads(_run("import", "desk", str(file), "--evaluation"))
    assert out["evaluation"]
    with Database(load().database).reader() as session:
        (prompt,) = session.scalars(select(Prompt))
        assert (prompt.split, prompt.is_evaluation) == (Split.TEST, True)


def test_doctor_finds_nothing_on_a_fresh_machine() -> None:
    findings = json.loads(_run("doctor", "--json"))["findings"]
    assert [one for one in findings if one["state"] == "fail"] == []


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [
        ("ATTUNE_NONSENSE", "1", "settings"),
        ("ATTUNE_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none", "database"),
        ("ATTUNE_SECRET_KEY", "short", "secret"),
    ],
)
def test_doctor_finds_a_seeded_fault(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, finding: str
) -> None:
    monkeypatch.setenv(name, value)
    result = runner.invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    findings = json.loads(result.stdout)["findings"]
    assert finding in [one["name"] for one in findings if one["state"] == "fail"]


def test_doctor_says_that_a_dead_broker_only_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_BROKER_URL", "redis://127.0.0.1:9/0")
    findings = json.loads(_run("doctor", "--json"))["findings"]
    assert [one["state"] for one in findings if one["name"] == "broker"] == ["warn"]


def test_a_domain_error_is_one_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise Invalid("the thing must be so")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert "the thing must be so" in capsys.readouterr().err


def test_a_file_is_previewed_and_imported_with_its_columns_mapped(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_text("question;good;bad\nIs it open?;Yes.;No idea.\n")
    maps = ("--map", "prompt=question", "--map", "chosen=good", "--map", "rejected=bad")
    result = runner.invoke(app, ["import", "desk", str(file), "--preview", *maps])
    assert result.exception is None, result.exception
    assert "Is it open?" in result.output
    refused = runner.invoke(app, ["import", "desk", str(file), "--map", "question"])
    assert isinstance(refused.exception, Invalid)
    assert "field=column" in str(refused.exception)


def test_rows_are_listed_and_prompts_tagged_and_untagged_again(tmp_path: Path) -> None:
    _run("user", "add", "ada@example.org", "--admin")
    database = Database(load().database)
    with database.transaction() as session:
        project = projects.create(session, name="Desk", owner=users(session)[0])
        for _ in range(2):
            vote(session, make_comparison(session, project), users(session)[0], preferred="a")
    database.dispose()
    for kind in ("comparisons", "judgments", "preferences"):
        assert len(_run("list", kind, "desk").splitlines()) == 2
    done = json.loads(_run("tag", "desk", "odd", "--where", "search=Question").splitlines()[0])
    assert (done["selected"], done["changed"]) == (2, 2)
    _run("list", "judgments", "desk", "--where", "tag=odd", "--to", str(tmp_path / "j.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [row["preferred"] for row in rows] == ["a", "a"]
    undone = json.loads(_run("tag", "desk", "--undo", str(done["edit"])).splitlines()[0])
    assert undone["restored"] == 2
    assert _run("list", "judgments", "desk", "--where", "tag=odd") == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("list", "votes", "desk"), "no list 'votes'; there are comparisons"),
        (("list", "judgments", "desk", "--where", "round=two"), "round: Input should be a valid"),
        (("list", "judgments", "desk", "--where", "rounds=2"), "rounds: Extra inputs"),
        (("list", "judgments", "desk", "--where", "limit=2"), "limit is for pages of the API"),
        (("list", "judgments", "desk", "--where", "round"), "a filter is name=value"),
        (("tag", "desk", "x", "--where", "model=a"), "prompts have no filter 'model'"),
        (("tag", "desk", "x", "--where", "split=a"), "split must be one of train"),
        (("tag", "desk", "x"), "no prompts are selected"),
        (("tag", "desk", "x", "--all", "--remove", "--category"), "--remove is for tags"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(arguments: tuple[str, ...], reason: str) -> None:
    _run("user", "add", "ada@example.org", "--admin")
    database = Database(load().database)
    with database.transaction() as session:
        projects.create(session, name="Desk", owner=users(session)[0])
    database.dispose()
    result = runner.invoke(app, arguments)
    assert isinstance(result.exception, Invalid), result.output
    assert reason in str(result.exception)
