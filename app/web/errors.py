"""Responses to errors: one table maps exception classes to HTTP statuses.

Browsers get a page that says what to do; scripts get problem+json (RFC 9457).
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy import inspect
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, StatementError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app import errors, full_disk
from app.web import addresses, deps, error_help, guarded_route, large_numbers
from app.web.error_help import ErrorHelp
from app.web.render import render

PROBLEM = "application/problem+json"

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


HEADINGS = {
    400: "The request is not complete",
    401: "Sign in first",
    403: "Not allowed",
    404: "Nothing is here",
    405: "Not possible here",
    409: "Not possible now",
    413: "Too large",
    415: "Not readable",
    422: "Not accepted",
    429: "Too many attempts",
    500: "Something went wrong",
    503: "Not available now",
    507: "The disk is full",
}
"""What a page says instead of the standard's phrase for a status."""

UNSAID = {
    404: "There is no page at this address. The link may be incomplete or out of date.",
    405: "This address does not take this kind of request.",
}
"""Details of errors for which the framework gives only the phrase."""


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """The page that describes an error."""

    status: int
    title: str
    detail: str
    request_id: str
    help: ErrorHelp


class Problem(BaseModel):
    """An error of the API, as RFC 9457 describes one."""

    type: str = "about:blank"
    title: Annotated[str, Field(description="The standard phrase for the status.")]
    status: int
    detail: Annotated[str, Field(description="What is wrong: the thing, the rule and the value.")]
    request_id: Annotated[str, Field(description="Also in `X-Request-ID` and in the logs.")]
    field: Annotated[
        str | None,
        Field(description="The first part of the request that is not of its type, if one is not."),
    ] = None


def install(app: FastAPI) -> None:
    """Register a handler for every kind of error."""
    app.add_exception_handler(errors.AttuneError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(OperationalError, _on_database_error)
    app.add_exception_handler(IntegrityError, _on_integrity_error)
    app.add_exception_handler(DataError, _on_unstorable_value)
    app.add_exception_handler(StatementError, _on_statement_error)
    app.add_exception_handler(OverflowError, _on_unstorable_value)
    app.add_exception_handler(UnicodeEncodeError, _on_unstorable_value)
    app.add_exception_handler(OSError, _on_system_error)


def on_error(request: Request, error: Exception) -> Response:
    """Return the response to an error that no handler above has answered."""
    if isinstance(error, HTTPException):
        request.state.viewer = None  # this runs on the event loop, where no database is asked
        return _on_http_error(request, error)
    return _on_crash(request, error)


def status_of(error: errors.AttuneError) -> int:
    """Return the status of the most specific class of the error that the table has."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def respond(request: Request, status: int, detail: str, field: str | None = None) -> Response:
    """Return a page or problem+json, depending on the client."""
    title = HTTPStatus(status).phrase
    request_id: str = getattr(request.state, "request_id", "")
    if wants_html(request):
        _forget_expired(request)
        heading = HEADINGS.get(status, title)
        page = ErrorPage(status, heading, detail, request_id, error_help.of(request, status))
        return render(request, "_shared/problem.html", page, status=status)
    body = Problem(title=title, status=status, detail=detail, request_id=request_id, field=field)
    return JSONResponse(body.model_dump(), status_code=status, media_type=PROBLEM)


def _forget_expired(request: Request) -> None:
    """Show the page as to a stranger if a rollback took away what was known of the viewer."""
    viewer, access = (getattr(request.state, name, None) for name in ("viewer", "access"))
    rows = [viewer.user] if viewer is not None else []
    rows += [access.user, access.project] if access is not None else []
    if any(inspect(row).expired_attributes for row in rows):
        request.state.viewer = request.state.access = None


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
    if isinstance(error, errors.SecondFactorDue) and wants_html(request):
        return RedirectResponse(addresses.path("two_factor.show"), status_code=303)
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
    lines, places = [], []
    for problem in error.errors()[:5]:
        place = ".".join(str(part) for part in problem["loc"][1:]) or "body"
        places.append(place)
        if wants_html(request):
            lines.append(_in_words(place, problem["type"], problem["msg"]))
            continue
        lines.append(f"{place}: {problem['msg']}{_given(problem)}")
    return respond(request, 422, "; ".join(lines), places[0] if places else None)


def _given(problem: dict[str, Any]) -> str:
    """Return the number that was refused; an address has it as a text."""
    value = problem.get("input")
    is_bound = problem["type"].startswith(("less_than", "greater_than"))
    if isinstance(value, int) or (isinstance(value, str) and is_bound):
        return f", not {large_numbers.shown(str(value))}"
    return ""


_FAULTS = {
    "missing": "is missing",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be yes or no",
    "enum": "has a value that is not on offer",
    "literal_error": "has a value that is not on offer",
}


def _in_words(place: str, fault: str, message: str) -> str:
    """Return what is wrong with a field of a form, without the words of its parser."""
    name = place.replace("_", " ").replace(".", " ")
    if "UploadFile" in message:
        return f"“{name}” is not a file"
    return f"“{name}” {_FAULTS[fault]}" if fault in _FAULTS else f"“{name}”: {message}"


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if full_disk.is_cause_of(error):  # FastAPI takes it for a malformed body
        return _on_full_disk(request, error)
    if wants_html(request) and not hasattr(request.state, "viewer"):
        deps.recognize(request)
    status, detail = error.status_code, str(error.detail)
    if detail == HTTPStatus(status).phrase:
        detail = UNSAID.get(status, detail)
    response = respond(request, status, detail)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = guarded_route.methods_at(request) or {"GET", "HEAD"}  # else it is a static file
        response.headers["allow"] = ", ".join(sorted(methods))
    return response


def _on_system_error(request: Request, error: Exception) -> Response:
    if full_disk.is_cause_of(error):
        return _on_full_disk(request, error)
    return _on_crash(request, error)


def _on_full_disk(request: Request, error: Exception) -> Response:
    log.error("disk full", path=request.url.path, error=str(error.__cause__ or error))
    return respond(
        request,
        507,
        "the server's disk is full; nothing was changed: ask the operator to free some space",
    )


def _on_database_error(request: Request, error: Exception) -> Response:
    if full_disk.is_cause_of(error):
        return _on_full_disk(request, error)
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
    large = large_numbers.find(request)
    if large:
        return respond(request, 422, "; ".join(str(number) for number in large), large[0].place)
    return respond(request, 422, "a value in this request is too large or cannot be stored")


def _on_statement_error(request: Request, error: Exception) -> Response:
    """Refuse a time that is outside of the calendar in UTC, such as the year 1 east of it."""
    if isinstance(error, StatementError) and isinstance(error.orig, OverflowError):
        return _on_unstorable_value(request, ValueError(f"{error.orig}"))
    return _on_crash(request, error)


def _on_crash(request: Request, error: Exception) -> Response:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    return respond(request, 500, "an unexpected error occurred; it has been logged")
