"""The description of the API says who may use a route, and every status it answers with."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
from starlette.testclient import TestClient

from app.web.errors import PROBLEM
from app.web.security import SAFE_METHODS
from tests.web.routes import policies_of, routes_of

ALWAYS = {  # for every route but the probes
    "public": set(),
    "signed_in": {"401", "403", "503"},
    "labeler": {"401", "403", "404", "422", "503"},
    "lead": {"401", "403", "404", "422", "503"},
    "admin": {"401", "403", "503"},
}


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def test_every_operation_names_its_scope_and_its_errors(application: Any) -> None:
    described = application.openapi()
    assert application.openapi() is described, "it is completed once"
    policies = {
        (route.path, method): policies_of(route.dependant).pop()
        for route in routes_of(application)
        for method in route.methods or ()
    }
    seen = 0
    for path, method, operation in operations(described):
        policy = policies[path, method]
        statuses = set(operation["responses"])
        place = f"{method} {path} {sorted(statuses)}"
        assert statuses >= ALWAYS[policy], place
        assert bool(operation["security"]) is (policy != "public"), place
        if method not in SAFE_METHODS:
            assert statuses >= {"409", "413", "422", "507"}, place
            content = operation.get("requestBody", {}).get("content", {})
            takes_files_of_all_types = "application/jsonl" in content
            assert ("415" in statuses) is (bool(content) and not takes_files_of_all_types), place
            assert ("400" in statuses) is ("multipart/form-data" in content), place
        for status, response in operation["responses"].items():
            is_error = status >= "400" and path != "/readyz"
            media = set(response.get("content", {}))
            assert not is_error or media in ({PROBLEM}, {"text/plain"}), f"{place} {status}"
            seen += is_error
    assert seen > 700
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_every_summary_is_a_sentence_and_none_the_name_of_a_function(application: Any) -> None:
    endpoints = {
        (route.path, method): route.endpoint
        for route in routes_of(application)
        for method in route.methods or ()
    }
    summaries: dict[tuple[str, str], str] = {}
    for path, method, operation in operations(application.openapi()):
        place, summary = f"{method} {path}", operation["summary"]
        name = endpoints[path, method].__name__
        assert summary.lower() != name.replace("_", " "), place
        assert re.fullmatch(r"[A-Z].*[^.\s]", summary), (place, summary)
        assert " " in summary, (place, summary)
        assert len(summary) <= 100, (place, summary)
        assert not operation.get("description", "").startswith(summary), place
        summaries[path, method] = summary
    assert len(summaries) > 100
    assert summaries["/api/v1/jobs", "GET"] == "Return the jobs of all projects, newest first"


def test_the_scope_of_a_token_follows_from_the_policy(application: Any) -> None:
    paths = application.openapi()["paths"]
    jobs = paths["/api/v1/jobs/{job_id}"]["get"]
    assert jobs["security"] == [{"token": ["admin"]}]
    assert "no administrator" in jobs["responses"]["403"]["description"]
    submit = paths["/api/v1/projects/{slug}/assignments/{assignment_id}/submission"]["post"]
    assert submit["security"] == [{"token": ["label"]}]
    edit = paths["/api/v1/projects/{slug}"]["patch"]
    assert edit["security"] == [{"token": ["write"]}]
    assert "429" in paths["/api/v1/projects/{slug}/chats/{chat_id}/messages"]["post"]["responses"]
    files = paths["/api/v1/projects/{slug}/exports/{number}/download"]["get"]["responses"]
    assert {"206", "409", "416"} <= set(files)
    assert "application/json" not in files["200"]["content"]


def test_an_error_is_as_described(application: Any, client: TestClient) -> None:
    schema = application.openapi()["components"]["schemas"]["Problem"]
    for answer in (
        client.get("/api/v1/projects"),
        client.get("/api/nowhere"),
        client.put("/livez"),
    ):
        assert answer.headers["content-type"] == PROBLEM
        jsonschema.validate(answer.json(), schema)
