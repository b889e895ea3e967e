"""A deterministic server of `/v1/chat/completions` with a taste of its own, on a real socket."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BLOCK = re.compile(
    r"<<<BEGIN (?P<title>PROMPT|RESPONSE(?: [A-Z])?) (?P<code>[0-9a-f]{16})\n"
    r"(?P<text>.*?)\n<<<END (?P=title) (?P=code)",
    re.DOTALL,
)
CRITERION = re.compile(r'^- ("(?:[^"\\]|\\.)*")', re.MULTILINE)
SCALE = re.compile(r"(\d+) \(highest\)")
Taste = Callable[[str, str], float]
"""The utility of a response to a prompt."""


def longest(_prompt: str, response: str) -> float:
    """Prefer longer responses."""
    return float(len(response))


@dataclass
class Failure:
    """What the server does instead of replying: a status with headers, or a cut connection."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "busy"
    cuts: bool = False


@dataclass
class JudgeServer:
    """The server's behavior, and the requests that it has seen.

    `failures` are used up one by one before any reply. `pull` is added to the utility of what is
    shown first: a response, a criterion, or the thumb that is offered first. Responses closer than
    `band` are ties. A rating is the rounded utility, and a response of utility `good` or more gets
    a thumb up. `spell` may replace the reply's text.
    """

    url: str = ""
    taste: Taste = longest
    pull: float = 0.0
    band: float = 0.0
    good: float = 5.0
    has_usage: bool = True
    spell: Callable[[str], str] | None = None
    failures: list[Failure] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the completion of a request."""
        user = body["messages"][1]["content"]
        blocks = [(match["title"], match["text"]) for match in BLOCK.finditer(user)]
        prompt = next(text for title, text in blocks if title == "PROMPT")
        responses = [text for title, text in blocks if title != "PROMPT"]
        utilities = [self.taste(prompt, text) for text in responses]
        form = user[max(match.end() for match in BLOCK.finditer(user)) :]
        text = json.dumps(self._said(form, utilities))
        text = self.spell(text) if self.spell else text
        reply: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
        }
        if self.has_usage:
            sent = sum(len(message["content"]) for message in body["messages"])
            reply["usage"] = {"prompt_tokens": sent // 4, "completion_tokens": len(text) // 4}
        return reply

    def _said(self, form: str, utilities: list[float]) -> dict[str, Any]:
        if '"ratings"' in form:
            return {"explanation": "By taste.", "ratings": self._ratings(form, utilities[0])}
        if '"thumb"' in form:
            pull = self.pull if form.index('"up"') < form.index('"down"') else -self.pull
            thumb = "up" if utilities[0] + pull >= self.good else "down"
            return {"explanation": "By taste.", "thumb": thumb}
        utilities[0] += self.pull
        if '"score"' in form:
            return {"explanation": "By taste.", "score": max(1, min(10, round(utilities[0])))}
        letters = "ABCDEFGHI"[: len(utilities)]
        if '"ranking"' in form:
            order = sorted(zip(utilities, letters, strict=True), key=lambda each: -each[0])
            return {"explanation": "By taste.", "ranking": [[letter] for _, letter in order]}
        gap = utilities[0] - utilities[1]
        verdict = "tie" if abs(gap) <= self.band else "A" if gap > 0 else "B"
        strength = None if verdict == "tie" else 3
        return {"explanation": "By taste.", "verdict": verdict, "strength": strength}

    def _ratings(self, form: str, utility: float) -> dict[str, int]:
        (top,) = SCALE.findall(form)
        names = [json.loads(name) for name in CRITERION.findall(form)]
        values = [utility + self.pull, *[utility] * (len(names) - 1)]
        return {
            name: max(1, min(int(top), round(value)))
            for name, value in zip(names, values, strict=True)
        }


@contextmanager
def serving(**behavior: Any) -> Iterator[JudgeServer]:
    """Serve on a free port for as long as the block runs."""
    judge = JudgeServer(**behavior)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(judge))
    server.daemon_threads = True
    judge.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(judge: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            """Reply, or fail as planned."""
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with judge.lock:
                judge.requests.append(body)
                judge.keys.add(self.headers.get("authorization"))
                failure = judge.failures.pop(0) if judge.failures else None
            if self.path != "/v1/chat/completions":
                failure = Failure(404, body="no such path")
            if failure is None:
                self._send(200, json.dumps(judge.reply(body)), {})
            elif failure.cuts:
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": [')
                self.close_connection = True
            else:
                self._send(failure.status, failure.body, failure.headers)

        def _send(self, status: int, text: str, headers: dict[str, str]) -> None:
            content = text.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler
