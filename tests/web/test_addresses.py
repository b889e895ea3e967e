"""Addresses by the names of routes: the same ones that the routes answer."""

from typing import Any

import pytest
from starlette.routing import NoMatchFound
from starlette.testclient import TestClient

from app.db import Database
from app.main import create_app
from app.settings import Settings
from app.web import addresses
from app.web.guarded_route import GuardedRoute, Handler
from tests.web.routes import routes_of


def test_a_route_is_found_by_its_module_and_function(application: Any) -> None:
    assert addresses.path("overview.show", slug="desk") == "/p/desk"
    assert addresses.path("rounds.show", slug="desk", number=3) == "/p/desk/rounds/3"
    assert addresses.path("api.jobs.one", slug="desk", job_id=7) == "/api/v1/projects/desk/jobs/7"


def test_a_query_is_encoded(application: Any) -> None:
    pair = {"a": "model-1", "b": "x & y"}
    assert (
        addresses.path("sides.show", query=pair, slug="desk") == "/p/desk/sides?a=model-1&b=x+%26+y"
    )


def test_unknown_routes_and_wrong_parameters_are_refused(application: Any) -> None:
    with pytest.raises(KeyError):
        addresses.path("rounds.nowhere", slug="desk")
    with pytest.raises(NoMatchFound):
        addresses.path("rounds.show", slug="desk")
    assert addresses.takes("rounds.show", "slug")
    assert not addresses.takes("jobs.show", "slug")


def test_every_page_has_a_name_of_its_own(application: Any) -> None:
    pages = [one for one in routes_of(application) if isinstance(one, addresses.PageRoute)]
    names = [route.name for route in pages]
    assert len(names) > 60
    assert sorted(names) == sorted(set(names))


def test_routes_are_built_before_the_first_request(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building them takes a second, for which the first person would wait."""
    built: list[str] = []
    build = GuardedRoute.get_route_handler

    def counted(route: GuardedRoute) -> Handler:
        built.append(route.path)
        return build(route)

    monkeypatch.setattr(GuardedRoute, "get_route_handler", counted)
    with TestClient(create_app(settings, database), base_url="http://127.0.0.1") as client:
        at_start = len(built)
        client.get("/p/desk/rounds")
        client.get("/nothing/here")
    assert at_start > 50
    assert len(built) == at_start
