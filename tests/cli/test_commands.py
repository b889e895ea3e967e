"""The command line: thin, but its sentences and exit codes are what scripts rely on."""

import json
import zipfile
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text
from typer.testing import CliRunner

from app.cli import console, main
from app.cli.main import app
from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid, NotFound, Unavailable
from app.models import AuditEvent, LinkedIdentity, Prompt, SecondFactor, Split
from app.services.datasets import import_tally
from app.services.people.accounts import users
from app.services.project import projects
from app.settings import FROM_FILES, load
from tests.services.sample_votes import make_comparison, vote
from worker import main as worker_main

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


def test_the_operator_resets_two_factor_and_disconnects_accounts() -> None:
    _run("user", "add", "ada@example.org")
    assert json.loads(_run("user", "list"))["two_factor"] is False
    for command in ("reset-two-factor", "disconnect"):
        refused = runner.invoke(app, ["user", command, "ada@example.org"])
        assert "ada@example.org" in str(refused.exception)
    database = Database(load().database)
    with database.transaction() as session:
        (user,) = users(session)
        moment = user.created_at
        session.add(
            SecondFactor(user_id=user.id, sealed_secret="", created_at=moment, confirmed_at=moment)
        )
        session.add(LinkedIdentity(user_id=user.id, issuer="x", subject="x", created_at=moment))
    assert json.loads(_run("user", "list"))["two_factor"] is True
    for command in ("reset-two-factor", "disconnect"):
        _run("user", command, "ada@example.org")
    with database.reader() as session:
        for table in (SecondFactor, LinkedIdentity):
            assert session.scalars(select(table)).all() == []
        actions = session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
        assert actions[-2:] == ["two_factor.reset", "identity.disconnect"]
    database.dispose()


def test_an_unknown_account_is_named() -> None:
    result = runner.invoke(app, ["token", "add", "nobody@example.org", "--scope", "read"])
    assert isinstance(result.exception, NotFound)
    assert "nobody@example.org" in str(result.exception)


def test_an_unknown_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_DATABSE_URL", "sqlite://")
    with pytest.raises(Invalid, match=r"ATTUNE_DATABSE_URL; did you mean ATTUNE_DATABASE_URL"):
        load()


def test_no_secret_is_made_up_for_a_shared_database(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    monkeypatch.setenv("ATTUNE_DATABASE_URL", sqlite_url)
    with pytest.raises(Invalid, match="ATTUNE_SECRET_KEY must be set"):
        _ = load().secret


def test_secrets_may_be_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FROM_FILES:
        path = tmp_path / name
        path.write_text(f" {name} of at least 32 characters\n")
        monkeypatch.setenv(f"ATTUNE_{name}_FILE".upper(), str(path))
    settings = load()
    for name in FROM_FILES:
        held = getattr(settings, name)
        text = held.get_secret_value() if isinstance(held, SecretStr) else held
        assert text == f"{name} of at least 32 characters"
    monkeypatch.setenv("ATTUNE_SECRET_KEY_FILE", "")
    assert load().secret_key is None
    monkeypatch.setenv("ATTUNE_BROKER_URL", "redis://broker:6379/0")
    with pytest.raises(Invalid, match="ATTUNE_BROKER_URL or ATTUNE_BROKER_URL_FILE, not both"):
        load()
    monkeypatch.delenv("ATTUNE_BROKER_URL")
    (tmp_path / "broker_url").write_text("\n")
    with pytest.raises(Invalid, match=r"ATTUNE_BROKER_URL_FILE: \S+ is empty"):
        load()
    (tmp_path / "broker_url").unlink()
    with pytest.raises(Invalid, match=r"ATTUNE_BROKER_URL_FILE: \S+ cannot be read"):
        load()


def test_the_generated_secret_stays_and_is_the_owners_alone() -> None:
    first = load()
    assert first.secret == load().secret
    assert (first.data_dir / "secret").stat().st_mode & 0o777 == 0o600


def test_migrate_goes_both_ways() -> None:
    assert "revision none" not in runner.invoke(app, ["migrate"]).output
    assert "revision none" in runner.invoke(app, ["migrate", "--down", "base"]).output


def test_files_come_in_and_bad_lines_are_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.setattr(import_tally, "REJECTS_KEPT", 1)
    again = runner.invoke(app, ["import", "desk", str(file), "--rejects", str(tmp_path / "1")])
    assert "Wrote the first 1 of 2 rejected lines" in again.stderr.replace("\n", " ")
    assert "duplicate prompts: 1 already in the project (line 1)" in again.stderr
    (found,) = json.loads(again.stdout)["duplicates"]
    assert (found["kind"], found["where"], found["lines"]) == ("prompts", "project", [1])
    packed = tmp_path / "all.zip"
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("train.jsonl", '{"prompt": "Is it far?"}\n')
        made.writestr("test.jsonl", '{"prompt": "Is it near?"}\n')
    out = json.loads(_run("import", "desk", str(packed), "--content-splits"))
    assert "splits_named" not in out["counts"]
    assert any("split by their content, though" in remark for remark in out["remarks"])
    shown = runner.invoke(app, ["import", "desk", str(packed), "--preview"])
    words = " ".join(shown.stderr.split())
    assert "set the split: train.jsonl says train, test.jsonl says test." in words
    out = json.loads(_run("import", "desk", str(file), "--evaluation"))
    assert out["evaluation"]
    with Database(load().database).reader() as session:
        prompt = session.scalars(select(Prompt).order_by(Prompt.id)).first()
        assert prompt is not None
        assert (prompt.split, prompt.is_evaluation) == (Split.TEST, True)


def test_audit_verify_finds_what_was_changed_or_removed() -> None:
    for name in ("ada", "bob", "eve"):
        _run("user", "add", f"{name}@example.org")
    first = json.loads(_run("audit", "verify"))
    assert (first["events"], first["broken_at"]) == (3, None)
    assert json.loads(_run("audit", "verify", "--contains", first["hash"]))["events"] == 3
    database = Database(load().database)
    for change, said in (
        ("DELETE FROM audit_event WHERE id = 3", f"no event has the hash {first['hash']}"),
        ("UPDATE audit_event SET subject = 'user 9' WHERE id = 2", "event 2 was changed"),
        ("DELETE FROM audit_event WHERE id = 1", "event 2 was changed"),
    ):
        with database.transaction() as session:
            session.execute(text(change))
        result = runner.invoke(app, ["audit", "verify", "--contains", first["hash"]])
        assert result.exit_code == 1
        assert said in " ".join(result.stderr.split())
    database.dispose()


def test_a_person_is_collected_and_erased() -> None:
    _run("user", "add", "ada@example.org")
    rows = [json.loads(line) for line in _run("user", "data", "ada@example.org").splitlines()]
    assert [(row["table"], row["row"]["email"]) for row in rows] == [("user", "ada@example.org")]
    asked = runner.invoke(app, ["user", "erase", "ada@example.org"], input="n\n")
    assert asked.exit_code == 1
    erased = json.loads(_run("user", "erase", "ada@example.org", "--yes", "--comments"))
    assert (erased["sessions"], erased["comments"]) == (0, 0)
    result = runner.invoke(app, ["user", "data", "ada@example.org"])
    assert "there is no account for ada@example.org" in str(result.exception)


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


def test_a_worker_refuses_a_database_without_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would log a failed search for jobs every few seconds."""
    monkeypatch.setenv("ATTUNE_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    monkeypatch.setenv("ATTUNE_SECRET_KEY", "x" * 32)
    monkeypatch.setattr(worker_main, "build", lambda *_: pytest.fail("it starts"))
    result = runner.invoke(app, ["worker", "--queues", "cpu"])
    assert isinstance(result.exception, Invalid)
    assert "no tables yet: run attune migrate" in str(result.exception)


def test_migrate_says_in_a_sentence_that_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATTUNE_DATABASE_URL", "postgresql://attune@127.0.0.1:1/attune")
    monkeypatch.setenv("ATTUNE_SECRET_KEY", "x" * 32)
    for command in (["migrate"], ["user", "list"]):
        result = runner.invoke(app, command)
        assert isinstance(result.exception, Unavailable), result.exception
        assert "start PostgreSQL" in str(result.exception)


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
    (source,) = map(json.loads, _run("list", "leaderboard", "desk").splitlines())
    assert source["reason"] == "no vote compares it with another source"
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
        (("list", "leaderboard", "desk", "--where", "by=me"), "by: Input should be 'people'"),
        (("list", "leaderboard", "desk", "--where", "reference=x"), "reference must be a model"),
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
