"""Artifacts to browsers: a file that can be resumed, a folder as a tar that is never stored."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from app.errors import NotFound, Unavailable

_CHUNK = 1 << 20


def file(request: Request, uri: str, filename: str) -> Response:
    """Send one file of an artifact; `Range` requests resume."""
    path = locate(request, uri)
    if not path.is_file():
        raise NotFound(f"the file {uri} is not below the artifact root")
    return FileResponse(path, filename=filename, media_type="application/octet-stream")


def tar(request: Request, uri: str, name: str) -> Response:
    """Send a folder as a tar stream under the name of its single top folder."""
    folder = locate(request, uri)
    if not folder.is_dir():
        raise NotFound(f"the folder {uri} is not below the artifact root")
    headers = {"content-disposition": f'attachment; filename="{name}.tar"'}
    return StreamingResponse(
        tar_stream(folder, name), media_type="application/x-tar", headers=headers
    )


def locate(request: Request, uri: str) -> Path:
    """Return where an artifact lies on this machine."""
    root: str = request.app.state.artifacts
    return below(root, uri)


def below(root: str, uri: str) -> Path:
    """Return where an artifact lies below a root on this machine.

    Raises:
        NotFound: the name leads out of the artifact root.
        Unavailable: the root is an object store; the message says where the artifact is.
    """
    if "://" in root:
        raise Unavailable(f"fetch it from the object store: {root.rstrip('/')}/{uri}")
    base = Path(root).resolve()
    path = (base / uri).resolve()
    if not path.is_relative_to(base):
        raise NotFound(f"there is no artifact {uri!r}")
    return path


def tar_stream(folder: Path, name: str) -> Iterator[bytes]:
    """Yield a folder as a tar, a chunk at a time; the same files give the same bytes."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        info = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield from _padded(path, info.size)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _padded(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
    yield b"\0" * (-size % tarfile.BLOCKSIZE)
