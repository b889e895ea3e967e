"""Artifacts in S3 and Google Cloud Storage, against servers that stand in for both.

Run it with `python -m tests.worker.object_stores`. It installs nothing: it needs the libraries of
the extra `s3`, and of each stand-in its program (`moto_server` of `moto[server]`, and
`gcp-storage-emulator`). A store whose parts are missing is passed over with the reason.

Each check is done twice, on models as workers store them and on artifacts as backups read and write
them, with files above the size from which uploads are made in parts.
"""

import argparse
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import fsspec

from app.backup import artifact_stores
from app.backup.backup_manifest import ArtifactFile, ArtifactFiles
from app.errors import Invalid, NotFound
from app.services.checkpoints.stored_artifacts import NamedArtifact
from worker import artifacts
from worker.artifacts import MANIFEST, Artifacts

BUCKET: Final = "attune-artifacts"
LARGE_MIB: Final = 60  # more than one part of an upload
STARTED_S: Final = 60


@dataclass(frozen=True, slots=True)
class StandIn:
    """A server that stands in for an object store.

    Args:
        scheme: of the URLs of the store.
        library: what fsspec needs to reach it.
        program: the server, with `{port}` and `{folder}` in its arguments.
        environment: what the library reads, with `{port}`.
    """

    scheme: str
    library: str
    program: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def missing(self) -> str:
        """What is not installed; empty if nothing is."""
        if importlib.util.find_spec(self.library) is None:
            return self.library
        return "" if _found(self.program[0]) else self.program[0]


STAND_INS: Final = (
    StandIn(
        "s3",
        "s3fs",
        ("moto_server", "-H", "127.0.0.1", "-p", "{port}"),
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "stand-in",
            "AWS_SECRET_ACCESS_KEY": "stand-in",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
    ),
    StandIn(
        "gs",
        "gcsfs",
        ("gcp-storage-emulator", "start", "--host", "127.0.0.1", "--port", "{port}", "--in-memory"),
        {
            "STORAGE_EMULATOR_HOST": "http://127.0.0.1:{port}",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        },
    ),
)


def check_models(root: str, folder: Path) -> None:
    """Publish, fetch, refuse and remove a model as workers do."""
    store = Artifacts(root, folder / "cache")
    made = _model(folder / "made")
    published = store.publish(made, "policy/job-1-1")
    fetched = store.fetch(published.uri, published.sha256)
    assert artifacts.verify(fetched), "the fetched folder does not match its manifest"
    assert _content(fetched) == _content(made), "other bytes came back"
    elsewhere = Artifacts(root, folder / "other-cache")
    _refuses(Invalid, lambda: elsewhere.fetch(published.uri, "0" * 64))
    _refuses(NotFound, lambda: store.fetch("policy/job-9-9"))
    files, base = fsspec.core.url_to_fs(f"{root}/policy/job-2-1")
    files.pipe_file(f"{base}/weights.bin", b"half a model")
    _refuses(NotFound, lambda: store.fetch("policy/job-2-1"))
    again = store.publish(made, "policy/job-1-2")
    assert again.sha256 == published.sha256, "the hash depends on more than the content"
    store.remove(published.uri)
    _refuses(NotFound, lambda: Artifacts(root, folder / "third").fetch(published.uri))
    left = Artifacts(root, folder / "fourth").fetch(again.uri, again.sha256)
    assert artifacts.verify(left), "removing one artifact has damaged another"


def check_backups(root: str, folder: Path) -> None:
    """Read, write, compare and move artifacts as backups and restorations do."""
    made = _model(folder / "backed-up")
    published = Artifacts(root, folder / "cache").publish(made, "sft/job-3-1")
    store = artifact_stores.store_at(root)
    named = NamedArtifact(published.uri, published.sha256, "model one")
    listed = artifact_stores.files_of(store, named)
    assert artifact_stores.is_same(store, listed) is True, "it is not what it was"
    other = ArtifactFiles(uri="restored/job-3-1", files=listed.files)
    assert artifact_stores.is_same(store, other) is None, "it is there before it was written"

    def fetch(file: ArtifactFile, target: IO[bytes]) -> None:
        with store.open(f"{listed.uri}/{file.name}") as source:
            shutil.copyfileobj(source, target)

    store.write(other, fetch)
    assert artifact_stores.is_same(store, other) is True, "what was restored is something else"
    store.move_aside(other.uri, "20260101T000000Z")
    assert artifact_stores.is_same(store, other) is None, "it is still there after it was moved"
    aside = ArtifactFiles(uri=f"{other.uri}.before-20260101T000000Z", files=listed.files)
    assert artifact_stores.is_same(store, aside) is True, "it is not where it was moved to"
    store.move_aside("restored/job-9-9", "20260101T000000Z")
    _refuses(NotFound, lambda: store.open("sft/job-9-9/weights.bin"))


def main() -> int:
    """Check every store; return the exit status."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    failed = 0
    for stand_in in STAND_INS:
        missing = stand_in.missing
        if missing:
            _say(f"{stand_in.scheme}://  passed over: {missing} is not installed")
            failed += os.environ.get("ATTUNE_TEST_REQUIRE") == "1"
            continue
        with tempfile.TemporaryDirectory() as folder, _served(stand_in, Path(folder)) as root:
            for check in (check_models, check_backups):
                failed += not _holds(check, root, Path(folder) / check.__name__)
    return min(failed, 1)


def _holds(check: Callable[[str, Path], None], root: str, folder: Path) -> bool:
    folder.mkdir()
    started = time.monotonic()
    what = (check.__doc__ or "").partition("\n")[0]
    try:
        check(f"{root}/{check.__name__}", folder)
    except Exception as error:  # noqa: BLE001  # the next check is done all the same
        _say(f"{root}  FAILED: {what} {type(error).__name__}: {error}")
        return False
    _say(f"{root}  ok in {time.monotonic() - started:.1f} s: {what}")
    return True


@contextmanager
def _served(stand_in: StandIn, folder: Path) -> Iterator[str]:
    """Run the stand-in, with an empty bucket; yield the bucket's URL."""
    port = _free_port()
    program, *arguments = (part.format(port=port, folder=folder) for part in stand_in.program)
    os.environ.update({name: text.format(port=port) for name, text in stand_in.environment.items()})
    with (folder / "server.log").open("wb") as log:
        command = [_found(program) or program, *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _await(f"http://127.0.0.1:{port}/", process)
        root = f"{stand_in.scheme}://{BUCKET}"
        files, base = fsspec.core.url_to_fs(root)
        files.mkdir(base)
        yield root
    finally:
        process.terminate()
        process.wait(10)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTED_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not answer at {url}")


def _model(folder: Path) -> Path:
    """Write a folder like a model: a large file, a small one in a folder, and an empty one."""
    (folder / "adapter").mkdir(parents=True)
    block = os.urandom(2**20)
    with (folder / "weights.bin").open("wb") as file:
        for _ in range(LARGE_MIB):
            file.write(block)
    (folder / "adapter" / "a name with spaces, ä.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    return folder


def _content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): artifacts.hash_of(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }


def _refuses(kind: type[Exception], act: Callable[[], object]) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"it should have been refused as {kind.__name__}")


def _found(program: str) -> str | None:
    """Return a program beside the interpreter, or on the path."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
