"""A hub of our own, which speaks as much of the Hugging Face protocol as an upload needs."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

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


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub, and make it that of this process, with a token that may write."""
    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(made: Hub) -> type[BaseHTTPRequestHandler]:
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

    return Handler
