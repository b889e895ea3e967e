"""A server of our own that takes adapters and returns token ids, as vLLM does, on a real socket.

It holds a model and loads adapters by name from folders in PEFT's format. Tests make it fail.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worker.rlhf.core import tensor_files
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import saving
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig

BASE_NAME = "the-base"
SERVED = "served"
Reply = tuple[int, Any]


@dataclass
class SamplingServer:
    """The server, what was asked of it, and what it does wrong.

    Attributes:
        failures: a status for each of the next requests for completions; 0 cuts the connection.
        after: how many requests for completions it serves before the failures begin.
        without_ids: returns texts alone, as most servers do.
        takes_adapters: whether adapters may be loaded while it runs.
        changes: fields of every choice that are replaced.
    """

    loaded: LoadedModel
    url: str = ""
    failures: list[int] = field(default_factory=list)
    after: int = 0
    without_ids: bool = False
    takes_adapters: bool = True
    changes: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    loads: list[tuple[str, str]] = field(default_factory=list)
    unloads: list[str] = field(default_factory=list)
    adapters: dict[str, tuple[str, dict[str, Tensor]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._roles = Roles(self.loaded)
        self._lock = threading.Lock()

    def restart(self) -> None:
        """Forget all adapters."""
        self.adapters.clear()

    def reply(self, path: str, body: dict[str, Any]) -> Reply:
        """Answer a request; a status of 0 cuts the connection."""
        with self._lock:
            routes = {"/v1/completions": self._complete}
            if self.takes_adapters:
                routes |= {
                    "/v1/load_lora_adapter": self._load,
                    "/v1/unload_lora_adapter": self._unload,
                }
            return routes[path](body) if path in routes else (404, {"detail": "Not Found"})

    def models(self) -> Reply:
        """List the base and the adapters."""
        listed = [{"id": BASE_NAME, "root": "/models/base", "parent": None}]
        adapters = list(self.adapters.items())
        listed += [{"id": name, "root": root, "parent": BASE_NAME} for name, (root, _) in adapters]
        return 200, {"object": "list", "data": listed}

    def _load(self, body: dict[str, Any]) -> Reply:
        name, folder = body["lora_name"], body["lora_path"]
        self.loads.append((name, folder))
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (Path(folder) / saving.ADAPTER_FILE).is_file():
            return _error(404, f"Loading lora {name} failed: No adapter found for {folder}")
        if not self._roles.has_adapter(SERVED):
            saving.load_policy(self._roles, folder, SERVED)
        tensors = tensor_files.load(Path(folder) / saving.ADAPTER_FILE)
        self.adapters[name] = folder, tensors
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _unload(self, body: dict[str, Any]) -> Reply:
        name = body["lora_name"]
        self.unloads.append(name)
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return 200, f"Success: LoRA adapter '{name}' removed successfully."

    def _complete(self, body: dict[str, Any]) -> Reply:
        if self.failures and self.after <= 0:
            return _error(self.failures.pop(0), "out of order")
        self.after -= 1
        name = body["model"]
        if name != BASE_NAME and name not in self.adapters:
            return _error(404, f"The model `{name}` does not exist.")
        self.requests.append(body)
        return 200, {"model": name, "choices": [self._choice(body) | self.changes]}

    def _choice(self, body: dict[str, Any]) -> dict[str, Any]:
        role = BASE if body["model"] == BASE_NAME else SERVED
        if role == SERVED:
            self._activate(body["model"])
        assert set(body["stop_token_ids"]) == set(self.loaded.end_ids)
        config = SamplingConfig(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            top_k=max(body["top_k"], 0),
            seed=body["seed"],
        )
        item = PromptItem("request", tuple(body["prompt"]))
        (drawn,) = sampling.generate(self._roles, [item], config, role)
        choice = {
            "index": 0,
            "text": drawn.text,
            "finish_reason": "stop" if drawn.finish_reason == "eos" else "length",
            "stop_reason": None,
            "logprobs": {"token_logprobs": list(drawn.logprobs)},
        }
        if self.without_ids or not body.get("return_token_ids"):
            return choice
        ids = {"prompt_token_ids": body["prompt"], "token_ids": list(drawn.token_ids)}
        return choice | ids

    @torch.no_grad()
    def _activate(self, name: str) -> None:
        _, tensors = self.adapters[name]
        for key, parameter in saving.by_saved_key(self._roles, SERVED).items():
            parameter.copy_(tensors[key])


def _error(status: int, message: str) -> Reply:
    return status, {"error": {"message": message, "type": "NotFoundError", "code": status}}


@contextmanager
def serving(loaded: LoadedModel) -> Iterator[SamplingServer]:
    """Serve a model on a free port of this machine."""
    made = SamplingServer(loaded)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(made: SamplingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(*(made.models() if self.path == "/v1/models" else (404, {})))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._send(*made.reply(self.path, body))

        def _send(self, status: int, content: Any) -> None:
            if status == 0:
                self.close_connection = True
                return
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            with suppress(ConnectionError):  # who asked may be gone
                self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    return Handler
