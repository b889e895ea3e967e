"""Addresses of pages and of the API, found by the name of their route.

A page's route is named after its module and function, `rounds.show`; an API route has the prefix
`api`, as in `api.jobs.one`. For example, `path("rounds.show", slug="library", number=3)` is
`/p/library/rounds/3`. Routes are known once their modules have been imported, as `create_app` does.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter

from app.web.guarded_route import GuardedRoute

_PACKAGES: Final = {"app.web.pages": "", "app.web.api": "api."}
_ROUTES: Final[dict[str, GuardedRoute]] = {}


class AddressedRoute(GuardedRoute):
    """A route whose address can be found by its name."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        _ROUTES[_name_of(endpoint)] = self


class PageRoute(AddressedRoute):
    """A page: it carries that name itself, for `request.url_for`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "name": _name_of(endpoint)})


def page_router() -> APIRouter:
    """Return a router for the routes of a page module, which OpenAPI leaves out."""
    return APIRouter(include_in_schema=False, route_class=PageRoute)


def path(name: str, /, *, query: Mapping[str, object] | None = None, **values: object) -> str:
    """Return the path of a route, with its parameters filled in, and a query string.

    Raises:
        KeyError: there is no such route.
        NoMatchFound: the parameters are not those of the route.
    """
    address = str(_ROUTES[name].url_path_for(_ROUTES[name].name, **values))
    return f"{address}?{urlencode(query)}" if query else address


def takes(name: str, parameter: str) -> bool:
    """Return whether a route's path has a parameter of that name."""
    return parameter in _ROUTES[name].param_convertors


def _name_of(endpoint: Callable[..., Any]) -> str:
    package, _, module = endpoint.__module__.rpartition(".")
    return f"{_PACKAGES.get(package, '')}{module}.{endpoint.__name__}"
