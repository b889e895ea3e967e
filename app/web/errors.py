"""Responses to errors: one table maps exception classes to HTTP statuses.

Browsers get a page that says what to do; scripts get problem+json (RFC 9457).
"""

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app import errors
from app.web import addresses
from app.web.render import render

STATUS: dict[type[Exception], int] = {
    errors.Invalid: 422,
    errors.NotFound: 404,
    errors.Forbidden: 403,
    errors.Unauthenticated: 401,
    errors.Conflict: 409,
    errors.TooMany: 429,
    errors.Unavailable: 503,
    errors.FigurePending: 503,
}

PENDING_S = 3  # after which to ask again for a figure that is being computed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """The page that describes an error."""

    status: int
    title: str
    detail: str


def install(app: FastAPI) -> None:
    """Register a handler for every kind of error."""
    app.add_exception_handler(errors.AttuneError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(OperationalError, _on_database_error)
    app.add_exception_handler(IntegrityError, _on_integrity_error)
    app.add_exception_handler(DataError, _on_unstorable_value)
    app.add_exception_handler(OverflowError, _on_unstorable_value)
    app.add_exception_handler(Exception, _on_crash)


def status_of(error: errors.AttuneError) -> int:
    """Return the status of the most specific class of the error that the table has."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def respond(request: Request, status: int, detail: str) -> Response:
    """Return a page or problem+json, depending on the client."""
    title = HTTPStatus(status).phrase
    if wants_html(request):
        return render(
            request, "_shared/problem.html", ErrorPage(status, title, detail), status=status
        )
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def wants_html(request: Request) -> bool:
    """Return whether the client is a browser that asked for a page."""
    is_page = not request.url.path.startswith("/api/")
    return is_page and "text/html" in request.headers.get("accept", "")


def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.AttuneError)
    status = status_of(error)
    if status == HTTPStatus.UNAUTHORIZED and wants_html(request):
        target = request.url.path if request.method == "GET" else "/"
        url = f"{addresses.path('sign_in.form')}?next={quote(target)}"
        return RedirectResponse(url, status_code=303)
    response = respond(request, status, str(error))
    if isinstance(error, errors.FigurePending):
        response = _on_pending(request, response)
    if isinstance(error, errors.TooMany):
        response.headers["retry-after"] = str(error.retry_after_s)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["www-authenticate"] = "Bearer"
    return response


def _on_pending(request: Request, response: Response) -> Response:
    """Let the client ask again: a browser by itself."""
    if wants_html(request):
        response = render(request, "_shared/pending.html", None, status=503)
        response.headers["refresh"] = str(PENDING_S)
    response.headers["retry-after"] = str(PENDING_S)
    return response


def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = []
    for problem in error.errors()[:5]:
        place = ".".join(str(part) for part in problem["loc"][1:]) or "body"
        value = problem.get("input")
        given = f", not {value}" if isinstance(value, int) else ""
        lines.append(f"{place}: {problem['msg']}{given}")
    return respond(request, 422, "; ".join(lines))


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return respond(request, error.status_code, str(error.detail))


def _on_database_error(request: Request, error: Exception) -> Response:
    log.warning("database unavailable", error=str(error))
    return respond(request, 503, "the database is not responding; nothing was changed, try again")


def _on_integrity_error(request: Request, error: Exception) -> Response:
    log.warning("constraint refused a write", error=str(error))
    return respond(
        request, 409, "someone else changed this at the same time; reload the page and try again"
    )


def _on_unstorable_value(request: Request, error: Exception) -> Response:
    """Refuse a number or a text that a column cannot hold and that nothing refused before."""
    if isinstance(error, OverflowError) and "SQLite" not in str(error):
        return _on_crash(request, error)
    log.warning(
        "value refused by the database", path=request.url.path, error=str(error).partition("\n")[0]
    )
    return respond(request, 422, "a value in this request is too large or cannot be stored")


def _on_crash(request: Request, error: Exception) -> Response:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    return respond(request, 500, "an unexpected error occurred; it has been logged")
