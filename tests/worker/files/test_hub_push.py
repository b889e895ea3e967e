"""Models are uploaded to a hub by name: against a hub of our own that speaks the protocol."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from app.errors import Forbidden, Invalid, NotFound, Unavailable
from worker.files import hub_push

SECRET = "hf_secret"


@dataclass
class Hub:
    """A hub with its repositories, and what was asked of it."""

    url: str = ""
    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """Answer a request with JSON."""
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.private.setdefault(name, asked.get("visibility") == "private")
            return {"url": f"{self.url}/{name}"}
        if "/preupload/" in path:
            return {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith("safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        if path.endswith("/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.url}/store/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return {"transfer": "basic", "objects": objects}
        if "/commit/" in path:
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.files[value["path"]] = self.stored[value["oid"]]
            return {"commitUrl": f"{self.url}/desk/policy/commit/1", "commitOid": "1"}
        return {"errors": [], "warnings": []}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, content: dict[str, Any], status: int = 200) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("content-length", 0)))

        def do_POST(self) -> None:
            body = self._body()
            if self.headers.get("authorization") != f"Bearer {SECRET}":
                self._reply({"error": "Invalid token"}, 401)
            else:
                self._reply(made.answer(self.path.partition("?")[0], body))

        def do_PUT(self) -> None:
            body = self._body()
            oid = self.path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == oid
            made.stored[oid] = body
            self._reply({})

        def do_GET(self) -> None:
            name = self.path.removeprefix("/api/models/").partition("?")[0]
            if name not in made.private:
                self._reply({"error": "Not found"}, 404)
                return
            self._reply({"id": name, "private": made.private[name], "tags": [], "sha": "1"})

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


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
    url = hub_push.push(str(folder), "desk/policy", is_private=True)
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
