"""The description of the API in OpenAPI: what FastAPI knows, and what is the same for all routes.

Whom a route answers follows from its policy, and which errors it can answer with from its method,
parameters and body. What only some routes answer with, they declare with `problems`.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi import FastAPI
from starlette.routing import BaseRoute

from app.web import deps, guarded_route
from app.web.errors import PROBLEM, Problem
from app.web.guarded_route import GuardedRoute
from app.web.security import SAFE_METHODS

_REASONS: Final = {
    400: "The form cannot be read.",
    401: "There is no token, or it is not valid.",
    404: "There is nothing with this name or id, or the caller may not see it.",
    409: "The state of things does not allow this, or someone else changed them at the same time.",
    413: "The body is too large.",
    415: "The body is of another media type than those above.",
    422: "A value breaks a rule; the detail names it.",
    429: "Too many requests; `Retry-After` says in how many seconds to try again.",
    503: "The database does not respond, or a figure is being computed; nothing was changed.",
    507: "The server's disk is full; nothing was changed.",
}
_WHO: Final = {
    "signed_in": "",
    "labeler": "",
    "lead": ", or its user is no lead of the project",
    "admin": ", or its user is no administrator",
}
_SCHEMA: Final = {"$ref": f"#/components/schemas/{Problem.__name__}"}
_TOKEN: Final = "token"
_SECURITY: Final = {
    _TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token. A route names the scope that it asks for; `write` includes "
        "`read` and `label`, and `admin` includes all.",
    }
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that answers with errors others do not."""
    return {status: _problem(_REASONS[status]) for status in statuses}


def files(*media_types: str, in_parts: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that sends a file, which `Range` may ask for in parts."""
    content = {media: {"schema": {"type": "string", "format": "binary"}} for media in media_types}
    responses: dict[int | str, dict[str, Any]] = {200: {"content": content}}
    if not in_parts:
        return responses
    text = {"text/plain": {"schema": {"type": "string"}}}
    return responses | {
        206: {"description": "The part that `Range` asked for.", "content": content},
        400: {"description": "`Range` cannot be read.", "content": text},
        416: {"description": "The file has no such part.", "content": text},
    }


def install(application: FastAPI) -> None:
    """Complete the application's description, once, when it is first asked for."""
    describe = application.openapi

    def completed() -> dict[str, Any]:
        described = describe()
        if "securitySchemes" not in described["components"]:
            _complete(described, application.routes)
        return described

    application.openapi = completed  # type: ignore[method-assign]


def _complete(described: dict[str, Any], routes: Sequence[BaseRoute]) -> None:
    components = described["components"]
    components["securitySchemes"] = _SECURITY
    components["schemas"][Problem.__name__] = Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for route in guarded_route.walk(routes):
        for method in route.methods or ():
            operation = described["paths"].get(route.path, {}).get(method.lower())
            if operation is not None:
                _complete_operation(operation, route, method)


def _complete_operation(operation: dict[str, Any], route: GuardedRoute, method: str) -> None:
    (policy,) = (dependency.policy for dependency in guarded_route.policies(route.dependant))
    scope = deps.scope_of(policy, method)
    _summarize(operation, inspect.getdoc(route.endpoint) or "")
    operation["security"] = [{_TOKEN: [scope]}] if scope else []
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own does not fit
    reasons = {status: _REASONS[status] for status in _statuses(operation, route, method)}
    if scope:
        reasons |= {403: f"The token lacks the scope `{scope}`{_WHO[policy]}."}
    for status, reason in reasons.items():
        responses.setdefault(str(status), _problem(reason))
    operation["responses"] = dict(sorted(responses.items()))


def _summarize(operation: dict[str, Any], documented: str) -> None:
    """Take the first sentence of what documents a route as its summary, the rest as description."""
    first, _, rest = documented.partition("\n\n")
    operation["summary"] = " ".join(first.split()).removesuffix(".")
    if rest.strip():
        operation["description"] = rest.strip()
    else:
        operation.pop("description", None)


def _statuses(operation: dict[str, Any], route: GuardedRoute, method: str) -> Iterator[int]:
    media = set(operation.get("requestBody", {}).get("content", ()))
    changes = method not in SAFE_METHODS
    if operation["security"]:
        yield from (401, 503)
    if route.param_convertors:
        yield 404
    if changes:
        yield from (409, 413, 507)
    if changes or "parameters" in operation:
        yield 422
    if media & guarded_route.FORMS:
        yield 400
    if media and not guarded_route.takes_any_media(route):
        yield 415


def _problem(reason: str) -> dict[str, Any]:
    return {"description": reason, "content": {PROBLEM: {"schema": _SCHEMA}}}
