"""The server engine against a stand-in for the network, and against a real server's process."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers.utils.import_utils import is_serve_available

from tests.worker.rlhf import tiny
from worker.rlhf.model import template
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.sampling import server as server_engine
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.server import Server, ServerConfig, ServerUnavailable, seed_of

Reply = Callable[[httpx.Request], httpx.Response]
CONFIG = SamplingConfig(n=2, max_new_tokens=5, seed=7)
HERE = ServerConfig("http://server.test/v1/", "small", concurrency=3, tries=3)
PROMPTS = [
    EnginePrompt(f"q{n}", text=f"Say {n}.", messages=(ChatMessage("user", f"Say {n}."),))
    for n in range(8)
]
START_S = 120.0


def completion(text: str, reason: str | None = "stop") -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"text": text, "finish_reason": reason}]})


def body_of(request: httpx.Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.content)
    return body


def completions_of(
    reply: Reply, config: ServerConfig = HERE, waits: list[float] | None = None
) -> list[Any]:
    waited: list[float] = [] if waits is None else waits
    with Server(config, transport=httpx.MockTransport(reply), pause=waited.append) as server:
        return list(server.generate(PROMPTS, CONFIG))


def test_every_completion_is_a_request_with_a_seed_of_its_own() -> None:
    seen: list[dict[str, Any]] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(body_of(request))
        assert str(request.url) == "http://server.test/v1/completions"
        return completion(f"{seen[-1]['prompt']} {seen[-1]['seed']}")

    found = completions_of(reply)
    assert [(each.prompt_key, each.sample_index) for each in found] == [
        (prompt.key, index) for prompt in PROMPTS for index in range(2)
    ]
    assert [each.text for each in found] == [
        f"{prompt.text} {seed_of(7, prompt.key, index)}" for prompt in PROMPTS for index in range(2)
    ]
    assert len({body["seed"] for body in seen}) == 16
    assert all(0 <= body["seed"] < 2**31 for body in seen)
    assert set(seen[0]) == {"model", "max_tokens", "temperature", "seed", "prompt"}


def test_requests_run_at_once_up_to_the_concurrency() -> None:
    together = threading.Barrier(3, timeout=20.0)
    now, most, lock = 0, 0, threading.Lock()
    left = iter(range(16))

    def reply(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        with lock:
            now, number = now + 1, next(left)
            most = max(most, now)
        if number < 15:  # 16 completions, three at a time: the last comes alone
            together.wait()
        with lock:
            now -= 1
        return completion("yes")

    assert len(completions_of(reply)) == 16
    assert most == 3


@pytest.mark.parametrize(
    ("reason", "expected"), [("stop", "eos"), ("length", "length"), (None, "length")]
)
def test_whatever_is_not_a_stop_was_cut_off(reason: str | None, expected: str) -> None:
    assert {each.finish_reason for each in completions_of(lambda _: completion("a", reason))} == {
        expected
    }


def test_a_chat_sends_the_turns_and_reads_the_message() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer secret"
        (turn,) = body_of(request)["messages"]
        message = {"content": f"{turn['role']}: {turn['content']}"}
        return httpx.Response(
            200, json={"choices": [{"message": message, "finish_reason": "stop"}]}
        )

    config = ServerConfig("http://server.test/v1", "small", is_chat=True, api_key="secret")
    assert completions_of(reply, config)[0].text == "user: Say 0."
    assert "secret" not in repr(config)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_retried_after_the_time_it_names(status: int) -> None:
    busy = {"Say 3."}
    waits: list[float] = []

    def reply(request: httpx.Request) -> httpx.Response:
        prompt = body_of(request)["prompt"]
        if prompt in busy:
            busy.discard(prompt)
            return httpx.Response(status, headers={"retry-after": "7"})
        return completion(prompt)

    assert [each.text for each in completions_of(reply, waits=waits)][6] == "Say 3."
    assert waits == [7.0]


def test_an_unreachable_server_fails_after_all_attempts() -> None:
    waits: list[float] = []

    def reply(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    with pytest.raises(ServerUnavailable, match="failed 3 times; last error: ConnectError: nobody"):
        completions_of(reply, waits=waits)
    assert set(waits) == {1.0, 2.0}, "longer from try to try"


def test_a_refusal_is_passed_on_at_once() -> None:
    calls: list[int] = []

    def reply(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(404, text="no model 'small'")

    with pytest.raises(ValueError, match="refused with status 404: no model 'small'"):
        completions_of(reply, ServerConfig(HERE.url, "small", concurrency=1))
    assert len(calls) <= 3  # only requests already sent; none is retried


@pytest.mark.parametrize("content", ["<html>", '{"choices": []}', '{"choices": [{"text": "a"}]}'])
def test_a_malformed_response_is_refused(content: str) -> None:
    with pytest.raises(ValueError, match=r"did not return JSON|returned no choice"):
        completions_of(lambda _: httpx.Response(200, text=content))


def test_a_redirect_is_not_followed() -> None:
    elsewhere = {"location": "http://elsewhere.test/"}
    with pytest.raises(ValueError, match="refused with status 307"):
        completions_of(lambda _: httpx.Response(307, headers=elsewhere))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "file:///etc"}, "must begin with http"),
        ({"model": ""}, "needs a model name"),
        ({"concurrency": 0}, "concurrency must be positive, got 0"),
    ],
)
def test_unusable_server_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ServerConfig(**({"url": "http://a", "model": "b"} | changes))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerConfig]:
    """Serve a random model by `transformers serve` in a process of its own."""
    if not is_serve_available():
        pytest.skip("`transformers serve` needs the package openai, which is not installed")
    folder = tmp_path_factory.mktemp("served")
    made = tiny.loaded()
    made.model.generation_config.do_sample = True  # this server takes it from the model alone
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    port = _free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options], stdout=log, stderr=subprocess.STDOUT, env=environment
        )
    try:
        _wait_for(port, process, folder / "log")
        yield ServerConfig(f"http://127.0.0.1:{port}/v1", str(folder), concurrency=1)
    finally:
        process.terminate()
        process.wait(20)


def test_a_real_server_completes_the_same_for_the_same_seed(served: ServerConfig) -> None:
    with Server(served) as server:
        first = list(server.generate(PROMPTS[:2], CONFIG))
        again = list(server.generate(PROMPTS[:2], CONFIG))
    assert first == again
    assert len({each.text for each in first}) == 4
    assert {each.finish_reason for each in first} <= {"eos", "length"}


def test_a_real_server_refuses_a_model_it_does_not_have(served: ServerConfig) -> None:
    wrong = ServerConfig(served.url, "/nowhere/at-all", concurrency=1, tries=1)
    with Server(wrong) as server, pytest.raises((ValueError, ServerUnavailable), match="status"):
        list(server.generate(PROMPTS[:1], CONFIG))


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"the server ended with status {process.returncode}: {log.read_text()}")
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=START_S).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()}")


def test_a_chat_has_the_arguments_of_the_template_and_a_text_its_stops() -> None:
    arguments = {"enable_thinking": False}
    chat, text = (
        ServerConfig("http://a/v1", "m", is_chat=is_chat, template_arguments=arguments)
        for is_chat in (True, False)
    )
    prompt = EnginePrompt(
        "p", text="User: a", messages=(ChatMessage("user", "a"),), stops=template.PLAIN_STOPS
    )
    body = server_engine.request_body(chat, prompt, 0, SamplingConfig())
    assert body["chat_template_kwargs"] == arguments
    assert "stop" not in body
    body = server_engine.request_body(text, prompt, 0, SamplingConfig())
    assert body["stop"] == ["\n\nSystem:", "\n\nUser:", "\n\nAssistant:"]
    assert "chat_template_kwargs" not in body
