"""Downloads of an export: its file, which can be resumed, and its folder."""

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.errors import Conflict
from app.formats import containers
from app.formats.containers import Container
from app.models import Export, Project
from app.services.datasets import exports
from app.web import downloads


def file(request: Request, session: Session, project: Project, export: Export) -> Response:
    """Send the file of an export, or the part that a `Range` request asks for.

    Raises:
        Conflict: it has not been written.
    """
    _check_ready(session, export)
    container = container_of(export)
    name = f"{_name(project, export)}-{export.format}.{container}"
    return downloads.file(request, export.uri, name, containers.MEDIA_TYPES[container])


def folder(request: Request, session: Session, project: Project, export: Export) -> Response:
    """Stream the folder of an export as a tar: the data, the manifest and the card.

    Raises:
        Conflict: it has not been written.
    """
    _check_ready(session, export)
    return downloads.tar(request, export.uri.rpartition("/")[0], _name(project, export))


def container_of(export: Export) -> Container:
    """Return what kind of file an export is; those from before there was a choice are lines."""
    return Container(export.options.get("container", Container.JSONL))


def _check_ready(session: Session, export: Export) -> None:
    if export.state == exports.READY:
        return
    state, error = exports.state_of(session, export)
    if state == exports.FAILED:
        reason = error.splitlines()[-1]
        raise Conflict(f"export {export.number} failed, so it has no file: {reason}")
    raise Conflict(f"export {export.number} is still being written; it has no file yet")


def _name(project: Project, export: Export) -> str:
    return f"{project.slug}-export-{export.number}"
