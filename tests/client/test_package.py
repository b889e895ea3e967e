"""The package by itself: what it loads, what it refuses, and what it does without the server."""

import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import httpx
import pytest

import attune
from app.settings import load
from attune import command, rows, uploads
from tests.client.conftest import Live

HEAVY = ("app", "worker", "fastapi", "sqlalchemy", "pydantic", "numpy", "pandas", "torch")
URL = "http://attune.test"


def test_importing_it_loads_none_of_the_server() -> None:
    client = Path(attune.__file__).parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(client)!r}); import attune, attune.command; "
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_a_connection_needs_an_address_and_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="set ATTUNE_TOKEN"):
        attune.connect(URL)
    monkeypatch.setenv("ATTUNE_TOKEN", " att_mine\n")
    monkeypatch.setenv("ATTUNE_URL", f"{URL}/")
    assert repr(attune.connect()) == f"<Attune {URL}>"
    for url, rule in (("attune.test", "must begin with"), ("http://a:secret@b", "password")):
        with pytest.raises(ValueError, match=rule) as refused:
            attune.connect(url)
        assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="one word") as refused:
        attune.connect(URL, "att mine")
    assert "att mine" not in str(refused.value)
    assert load(prepares=False), "a server takes no notice of the client's names"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(rows, "import_module", missing)
    there = attune.Rows(Path("x.jsonl"), export=None)  # type: ignore[arg-type]
    with pytest.raises(attune.PackageMissing, match=r"to_pandas\(\) needs pandas.*pip install"):
        there.to_pandas()
    with pytest.raises(attune.PackageMissing, match="datasets"):
        there.to_dataset()


@pytest.mark.parametrize(
    ("given", "name", "fault"),
    [
        ([], "a.jsonl", "no rows"),
        ([{"prompt": "x"}, "y"], "a.jsonl", "row 2 must be a mapping, not str"),
        ([{"prompt": {1}}], "a.jsonl", "row 1 has a value"),
        ([{"prompt": float("nan")}], "a.jsonl", "row 1 has a value"),
        ([{"prompt": "x"}], "../a.jsonl", "must be that of a file"),
    ],
)
def test_rows_that_cannot_be_sent_are_named(given: Any, name: str, fault: str) -> None:
    with pytest.raises((TypeError, ValueError), match=fault), uploads.as_file(given, name):
        pytest.fail("nothing is sent")


def round_in(state: str, done: int = 0) -> httpx.Response:
    given = dict.fromkeys(attune.RoundProgress.__dataclass_fields__, None) | {
        "number": 3,
        "state": state,
        "jobs": [],
        "labeling": {"done": done, "wanted": 9},
    }
    return httpx.Response(200, json=given)


def test_a_round_is_followed_until_it_is_over_or_waits_for_a_decision() -> None:
    answers = [round_in("labeling"), round_in("labeling"), round_in("labeling", 1)]
    answers += [round_in("gated"), round_in("gated"), round_in("held")]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    rounds = attune.connect(URL, "att_x", transport=transport).project("desk").rounds
    assert [seen.state for seen in rounds.follow(3, every_s=0)] == ["labeling", "labeling", "gated"]
    seen = [one.state for one in rounds.follow(3, every_s=0, through_gates=True)]
    assert seen == ["gated", "held"]
    answers += [round_in("labeling")]
    with pytest.raises(attune.WaitedTooLong, match="round 3 is labeling"):
        list(rounds.follow(3, every_s=1, timeout_s=0.5))


def test_an_export_is_waited_for_no_longer_than_asked() -> None:
    export = dict.fromkeys(attune.Export.__dataclass_fields__, None) | {
        "number": 4,
        "state": "queued",
    }
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=export))
    desk = attune.connect(URL, "att_x", transport=transport).project("desk")
    with pytest.raises(attune.WaitedTooLong, match=r"export 4 is not ready after 0\.05 s"):
        desk.preferences(timeout_s=0.05)


def test_an_older_server_is_told_by_the_field_that_it_lacks() -> None:
    with pytest.raises(attune.ClientError, match="'tone'"):
        attune.Verdict.from_json({"finding": "step"})
    desk = attune.connect(URL, "att_x").project("a/b")
    assert "a%2Fb" in desk._path
    for page, id in (("rounds", None), ("round", None), ("project", 3)):
        with pytest.raises(ValueError, match="verdict"):
            desk.verdict(page, id)


def test_open_opens_a_page_or_says_its_address(
    live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    def show(page: str) -> bool:
        opened.append(page)
        return True

    monkeypatch.setattr(webbrowser, "open", show)
    monkeypatch.setattr(command, "_has_screen", lambda: True)
    assert command.main(["open", "desk", "--url", live.url]) == 0
    assert opened == [f"{live.url}/p/desk"]
    monkeypatch.setattr(command, "_has_screen", lambda: False)
    assert command.main(["open", "--url", live.url]) == 0
    assert len(opened) == 1
    assert f"There is no browser here; open {live.url}/" in capsys.readouterr().out
    assert command.main(["open", "--url", "http://127.0.0.1:9"]) == 1
    assert "nothing answers at http://127.0.0.1:9" in capsys.readouterr().err
