"""The application's own routes, for tests that are generated from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

_WORDS: Final = {"action": "cancel", "gate": "labelers", "name": "ppo", "filename": "policy"}


def routes_of(application: Any) -> list[APIRoute]:
    """Return every route of a page or of the API."""
    return [route for route in _walk(application.routes) if isinstance(route, APIRoute)]


def methods_of(route: APIRoute) -> list[str]:
    """Return the methods that are answered at a route's address: HEAD wherever GET is."""
    methods = set(route.methods or ())
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def every_route(application: Any) -> list[Any]:
    """Return all that answers requests, whoever made it."""
    return list(_walk(application.routes))


def policies_of(dependant: Dependant) -> set[str]:
    """Return the names of the policies that a route depends on."""
    own = getattr(dependant.call, "policy", None)
    found = {own} if own else set()
    for inner in dependant.dependencies:
        found |= policies_of(inner)
    return found


def path_of(route: APIRoute, slug: str = "own", other: str = "999999") -> str:
    """Return an address of the route, with each of its other parameters as `other`."""
    path = route.path.replace("{slug}", slug).replace(":path}", "}")
    while "{" in path:
        path = path[: path.index("{")] + other + path[path.index("}") + 1 :]
    return path


def path_with(route: APIRoute, ids: Mapping[str, Sequence[int | str]], slug: str) -> list[str]:
    """Return an address of the route for each of the ids, with words where there are none."""
    names = [name for name in route.param_convertors if name in ids]
    paths = []
    for at in range(max((len(ids[name]) for name in names), default=1)):
        path = route.path.replace("{slug}", slug).replace(":path}", "}")
        for name in names:
            path = path.replace(f"{{{name}}}", str(ids[name][at % len(ids[name])]))
        for name in _WORDS:
            path = path.replace(f"{{{name}}}", _WORDS[name])
        paths.append(path)
    return paths


def least_body(route: APIRoute) -> tuple[Any, bool]:
    """Return the smallest body that the route's fields allow, and whether it is a form."""
    if route.body_field is None:
        return None, False
    kind: Any = route.body_field.field_info.annotation
    schema = TypeAdapter(kind).json_schema()
    is_form = isinstance(route.body_field.field_info, Form)
    return _least(schema, schema.get("$defs", {})), is_form


def _least(schema: Any, known: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _least(known[schema["$ref"].rsplit("/", 1)[1]], known)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _least(schema[several][0], known)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: _least(fields[name], known) for name in schema.get("required", ())}
    if kind == "array":
        return [_least(schema["items"], known)] * schema.get("minItems", 0)
    number = max(1, schema.get("minimum", 1))
    return {"string": "x" * max(8, schema.get("minLength", 0)), "boolean": True}.get(kind, number)


def _walk(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        yield route
        included = getattr(route, "original_router", route)  # FastAPI nests included routers
        yield from _walk(list(getattr(included, "routes", None) or []))
