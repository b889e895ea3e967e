"""How long it takes from a clean checkout to the first judgment, as somebody would do it.

The checkout is cloned, served with `attune up`, and given an account, a project and a file with two
responses to compare; then a labeler signs in and judges. The long form also sets the checkout up
with `make`, from whatever pip has cached; the short form uses the packages of this environment.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.faults.proof.own_servers import free_port
from tests.faults.proof.rows import ROOT, NotMeasured, Outcome, Place

MOST_S = 180.0
START_S = 600.0
ROW = {
    "prompt": "How do I return a parcel?",
    "completions": [
        {"model": "first", "text": "Bring it to any post office within 30 days."},
        {"model": "second", "text": "I do not know."},
    ],
}


def measure(place: Place) -> Outcome:
    """Time everything from the clone to the acknowledged judgment."""
    folder = place.room("first label")
    checkout, data = folder / "checkout", folder / "data"
    began_s = time.monotonic()
    _run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout)], ROOT)
    python, environment = sys.executable, _environment(data, checkout)
    if place.scale.is_long:
        # The interpreter of this environment's installation, not of the environment itself.
        base = Path(sys.base_prefix) / "bin" / "python3"
        _run(["make", ".venv/.installed", f"PYTHON={base}"], checkout)
        python = str(checkout / ".venv" / "bin" / "python")
    set_up_s = time.monotonic() - began_s
    port, password = free_port(), secrets.token_urlsafe(12)
    attune = [python, "-m", "app.cli.main"]
    with _serving([*attune, "up", "--port", str(port)], checkout, environment, folder / "log"):
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        account = ["user", "add", "you@example.org", "--admin", "--password", password]
        _run([*attune, *account], checkout, environment)
        _judge(url, password, folder / "responses.jsonl")
        took_s = time.monotonic() - began_s
    with_set_up = "set-up with make included" if place.scale.is_long else "packages installed"
    return Outcome(
        f"{took_s:.0f} s to the first judgment",
        f"1 clone of the checkout, {with_set_up}, SQLite, one comparison imported",
        f"{took_s - MOST_S:.0f} s too late" if took_s > MOST_S else "",
        {"seconds": round(took_s, 1), "set_up_s": round(set_up_s, 1)},
    )


def _judge(url: str, password: str, file: Path) -> None:
    """Sign in as people do, make a project with a comparison, and judge it."""
    file.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    with httpx.Client(base_url=url, timeout=60.0) as browser:
        form = {"email": "you@example.org", "password": password}
        _good(browser.post("/sign-in", data=form), 303)
        page = _good(browser.get("/account", headers={"accept": "text/html"}), 200).text
        token = page.split('name="csrf-token" content="')[1].split('"')[0]
        browser.headers.update({"x-csrf-token": token, "origin": url})
        wanted = {"name": "First", "slug": "first", "judgment_kind": "pick", "overlap": 1}
        _good(browser.post("/api/v1/projects", json=wanted), 201)
        base = "/api/v1/projects/first"
        with file.open("rb") as opened:
            _good(browser.post(f"{base}/imports", files={"file": opened}), 201)
        claimed = _good(browser.post(f"{base}/assignments", json={"count": 1}), 200).json()
        (assignment,) = claimed["assignments"]
        judgment = {
            "key": secrets.token_urlsafe(18),
            "lease_token": assignment["lease_token"],
            "answer": {"kind": "pick", "preferred": "a", "strength": assignment["strengths"][0]},
        }
        path = f"{base}/assignments/{assignment['id']}/submission"
        _good(browser.post(path, json=judgment), 200)


def _good(response: httpx.Response, status: int) -> httpx.Response:
    if response.status_code != status:
        request = response.request
        raise RuntimeError(
            f"{request.method} {request.url.path} answered with {response.status_code}, not "
            f"{status}: {response.text[:500]}"
        )
    return response


def _environment(data: Path, checkout: Path) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("ATTUNE_")}
    return own | {"ATTUNE_DATA_DIR": str(data), "PYTHONPATH": str(checkout)}


@contextmanager
def _serving(
    command: Sequence[str], checkout: Path, environment: Mapping[str, str], log: Path
) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_for(url: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/livez", timeout=2.0).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not respond within {START_S:.0f} s")


def _run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> None:
    try:
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise NotMeasured(f"{command[0]} is not installed") from error
    if ended.returncode:
        said = ended.stderr.strip()[-1000:]
        if command[0] == "git":
            raise NotMeasured(f"this is not a checkout that can be cloned: {said}")
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}: {said}")
