"""Models are uploaded to a hub by name: against a hub of our own that speaks the protocol."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import Forbidden, Invalid, NotFound, Unavailable
from tests import hub_server
from tests.hub_server import Hub
from worker.training import hub_push


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.serving(monkeypatch) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "heldout_scores.jsonl").write_text("somebody's words")
    return made


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads
def test_a_folder_is_uploaded_without_peoples_texts(hub: Hub, folder: Path) -> None:
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events").write_bytes(b"somebody's words")
    told: list[tuple[int, int, str]] = []
    url = hub_push.push(
        str(folder), "desk/policy", is_private=True, report=lambda *step: told.append(step)
    )
    assert told == [
        (0, 1, "uploading config.json"),
        (1, 1, "uploading model.safetensors"),
        (1, 1, "committing"),
    ]
    assert url == f"{hub.url}/desk/policy"
    assert hub.private == {"desk/policy": True}
    assert hub.files == {"config.json": b"{}", "model.safetensors": b"weights"}


def test_a_public_repository_is_not_filled_where_a_private_one_was_asked_for(
    hub: Hub, folder: Path
) -> None:
    hub.private["desk/policy"] = False
    with pytest.raises(Invalid, match="exists and is public; nothing was uploaded"):
        hub_push.push(str(folder), "desk/policy", is_private=True)
    assert hub.files == {}


def test_what_cannot_be_pushed_is_refused(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        hub_push.push(str(tmp_path / "none"), "desk/policy", is_private=False)
    with pytest.raises(Invalid, match="not 'no spaces'"):
        hub_push.push(str(folder), "no spaces", is_private=False)
    adapter = folder / "reward"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(folder)})
    )
    with pytest.raises(Invalid, match="a folder of this machine"):
        hub_push.push(str(folder), "desk/policy", is_private=False)
    (adapter / "adapter_config.json").unlink()
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(Forbidden, match="does not let the token of HF_TOKEN write desk/policy"):
        hub_push.push(str(folder), "desk/policy", is_private=False)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(Forbidden, match="set HF_TOKEN"):
        hub_push.push(str(folder), "desk/policy", is_private=False)
    assert hub.files == {}


def test_no_hub_is_told_so(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"no hub answers at http://127\.0\.0\.1:9"):
        hub_push.push(str(folder), "desk/policy", is_private=False)
