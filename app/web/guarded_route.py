"""Routes that authorize before they read a body, and read no more than they state.

FastAPI reads and parses a body before it resolves the dependencies that authorize. A stranger
could so occupy a process with a body that is refused afterwards. Here whoever may not use a route
is refused first. Then its body is limited: to `BODY_MOST`, or to what its decorator states.
"""

import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, TypeVar

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from app.errors import Invalid
from app.web import deps, json_bodies, large_numbers, security

BODY_MOST: Final = 2**20
PUBLIC_MOST: Final = 2**16
"""Of the forms that anyone may send, such as the one to sign in."""
_INLINE_MOST: Final = 2**14  # bytes parsed on the event loop, in well under a millisecond

FORMS: Final = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
_JSON: Final = re.compile(r"application/(?:[^/]+\+)?json")

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def takes_file(endpoint: Endpoint) -> Endpoint:
    """Mark a route whose body may be as large as the operator's limit on uploads."""
    endpoint.body_most = None  # type: ignore[attr-defined]
    return endpoint


def takes_mib(mib: int) -> Callable[[Endpoint], Endpoint]:
    """Mark a route whose body may be larger than that of others."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.body_most = mib * 2**20  # type: ignore[attr-defined]
        return endpoint

    return mark


def shows_form_again(endpoint: Endpoint) -> Endpoint:
    """Mark a form that checks its texts itself, and comes back with what was typed."""
    endpoint.checks_texts = True  # type: ignore[attr-defined]
    return endpoint


class GuardedRoute(APIRoute):
    """A route that authorizes first, and then reads its body within bounds."""

    def get_route_handler(self) -> Handler:
        """Return the handler, with the authorization before it."""
        handle = super().get_route_handler()
        asked = list(policies(self.dependant))
        usual = PUBLIC_MOST if deps.public in asked else BODY_MOST
        most: int | None = getattr(self.endpoint, "body_most", usual)
        checks_texts: bool = getattr(self.endpoint, "checks_texts", False)

        async def noted(request: Request) -> Response:
            response = await guarded(request)
            if hasattr(request.state, "unnoted_use") and response.background is None:
                response.background = BackgroundTask(deps.note_use, request)
            return response

        async def guarded(request: Request) -> Response:
            reason = _reason_not_to_look_up(request)
            if request.method in security.SAFE_METHODS and not reason:
                return await handle(request)
            for policy in asked:
                await deps.admit(request, policy)
            try:
                if reason:
                    raise HTTPException(422, reason)
                _check_media(request, self)
                return await handle(BoundedRequest(request, most, checks_texts=checks_texts))
            except (RequestValidationError, HTTPException):
                for policy in asked:  # strangers are not told what a body lacks
                    await deps.admit(request, policy, fully=True)
                raise

        return noted


class BoundedRequest(Request):
    """A request with a limited body, whose JSON is parsed within bounds off the event loop.

    Args:
        request: as it came in.
        most: bytes of the body; None where the operator's limit is the only one.
        checks_texts: whether the route itself refuses texts of forms that cannot be stored.
    """

    def __init__(self, request: Request, most: int | None, *, checks_texts: bool = False) -> None:
        receive = request.receive if most is None else security.limited(request.receive, most)
        super().__init__(request.scope, receive)
        self._checks_texts = checks_texts
        if most is not None and (security.declared_length(request.scope) or 0) > most:
            raise security.too_large(most)

    async def json(self) -> Any:
        """Return the value of the body, parsed once."""
        if not hasattr(self, "_json"):
            self._json = await _parsed(await self.body())
            large_numbers.note_body(self, self._json)
        return self._json

    async def _get_form(self, **options: Any) -> FormData:
        """Return the fields of a form, which are texts that a database can store."""
        form = await super()._get_form(**options)
        for name, value in form.multi_items():
            text = value if isinstance(value, str) else value.filename or ""
            reason = "" if self._checks_texts else json_bodies.reason_not_to_store(text)
            if reason:
                await form.close()
                raise HTTPException(422, f"{name[:100]} {reason}")
        large_numbers.note_body(self, dict(form.items()))
        return form


def _reason_not_to_look_up(request: Request) -> str:
    """Return why the query asks for a text that no row can have; empty if it does not."""
    if b"%00" not in request.scope["query_string"]:
        return ""
    for name, value in request.query_params.multi_items():
        reason = json_bodies.reason_not_to_store(value)
        if reason:
            return f"{name[:100]} {reason}"
    return ""


async def _parsed(body: bytes) -> Any:
    try:
        if len(body) <= _INLINE_MOST:
            return json_bodies.parse(body)
        return await run_in_threadpool(json_bodies.parse, body)
    except Invalid as error:  # FastAPI would take any other error for a malformed body
        raise HTTPException(422, str(error)) from error


def _check_media(request: Request, route: APIRoute) -> None:
    """Refuse a body of a type that the route does not read, which FastAPI takes for a wrong value.

    Raises:
        HTTPException: with status 415 and the types that it reads.
    """
    if takes_any_media(route) or not security.has_body(request.scope):
        return
    is_form = isinstance(getattr(route.body_field, "field_info", None), Form)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (kind in FORMS) if is_form else _JSON.fullmatch(kind):
        return
    read = " or ".join(sorted(FORMS)) if is_form else "application/json"
    raise HTTPException(415, f"this address takes {read}, not {kind[:100] or 'an untyped body'}")


def policies(dependant: Dependant) -> Iterator[Any]:
    """Yield the authorization policies that a route depends on."""
    if hasattr(dependant.call, "policy"):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from policies(inner)


def walk(routes: Sequence[BaseRoute]) -> Iterator[GuardedRoute]:
    """Yield the guarded routes among an application's."""
    for route in routes:
        if isinstance(route, GuardedRoute):
            yield route
        included = getattr(route, "original_router", None)  # FastAPI nests included routers
        if included is not None:
            yield from walk(included.routes)


def methods_at(request: Request) -> set[str]:
    """Return the methods that are answered at the address of a request: HEAD where GET is."""
    found: set[str] = set()
    for route in walk(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found | {"HEAD"} if "GET" in found else found


def takes_any_media(route: APIRoute) -> bool:
    """Whether a route reads a body of any media type, such as a file to import."""
    return route.body_field is None
