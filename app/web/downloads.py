"""Downloads of artifacts: a file that can be resumed, or a folder streamed as a tar."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from app.errors import NotFound, Unavailable

TAR: Final = "application/x-tar"
_CHUNK = 1 << 20


def file(
    request: Request, uri: str, filename: str, media_type: str = "application/octet-stream"
) -> Response:
    """Send one file of an artifact, or the part that a `Range` request asks for."""
    path = locate(request, uri)
    if not path.is_file():
        raise NotFound(f"file {uri} is missing from the artifact store")
    return FileResponse(path, filename=filename, media_type=media_type)


def tar(request: Request, uri: str, name: str) -> Response:
    """Stream a folder as a tar with a single top-level folder of the given name."""
    folder = locate(request, uri)
    if not folder.is_dir():
        raise NotFound(f"folder {uri} is missing from the artifact store")
    headers = {"content-disposition": f'attachment; filename="{name}.tar"'}
    return StreamingResponse(tar_stream(folder, name), media_type=TAR, headers=headers)


def locate(request: Request, uri: str) -> Path:
    """Return the path of an artifact on this machine."""
    root: str = request.app.state.artifacts
    return below(root, uri)


def below(root: str, uri: str) -> Path:
    """Return the path of an artifact below a root on this machine.

    Raises:
        NotFound: the path leads outside the artifact root.
        Unavailable: the root is an object store; the message gives the artifact's address there.
    """
    if "://" in root:
        raise Unavailable(
            f"artifacts are in an object store; download it from {root.rstrip('/')}/{uri}"
        )
    base = Path(root).resolve()
    path = (base / uri).resolve()
    if not path.is_relative_to(base):
        raise NotFound(f"there is no artifact {uri!r}")
    return path


def tar_stream(folder: Path, name: str) -> Iterator[bytes]:
    """Yield a folder as a tar in chunks; the same files always give the same bytes."""
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
