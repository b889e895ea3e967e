"""What schemathesis is told of this application; it is loaded there, without the application.

`ATTUNE_FUZZ` names a JSON file with the ids that exist, the operations that the asker may not use,
and the headers that every response has.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import schemathesis

GIVEN: dict[str, Any] = json.loads(Path(os.environ["ATTUNE_FUZZ"]).read_text(encoding="utf-8"))
SHADOWED: set[str] = set()
"""Paths that another path with a parameter in its place takes with other methods: 422, not 405."""
REFUSALS = {401, 403, 404, 405}


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Let rows that exist be asked for, which no generator would guess."""
    SHADOWED.update(_shadowed(list(raw_schema["paths"])))
    for operations in raw_schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                ids = GIVEN["ids"].get(parameter["name"])
                if ids and parameter["in"] == "path":
                    parameter["schema"] = {"enum": [*ids, 999_999] if len(ids) > 1 else ids}
    for schema in raw_schema["components"]["schemas"].values():
        for name, value in schema.get("properties", {}).items():
            if name in GIVEN["ids"] and schema.get("title", "").endswith("In"):
                value["examples"] = GIVEN["ids"][name]


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_failure(_context: Any, failure: Any, case: Any, _response: Any) -> bool:
    """Keep all failures but those of methods that another path takes."""
    is_of_method = "undeclared method" in failure.title or "Allow header" in failure.title
    return not (is_of_method and case.operation.path in SHADOWED)


def _shadowed(paths: list[str]) -> set[str]:
    return {
        path
        for path in paths
        for other in paths
        if other != path and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", other), path)
    }


@schemathesis.check  # type: ignore[untyped-decorator]
def permission(_context: Any, response: Any, case: Any) -> None:
    """Fail if a route answers an asker who may not use it."""
    if case.operation.label in GIVEN["refused"] and response.status_code not in REFUSALS:
        raise AssertionError(
            f"{case.operation.label} answers {GIVEN['asker']} with {response.status_code}"
        )


@schemathesis.check  # type: ignore[untyped-decorator]
def security_headers(_context: Any, response: Any, _case: Any) -> None:
    """Fail if a response lacks a header that every response has."""
    missing = [name for name in GIVEN["headers"] if name not in response.headers]
    if missing:
        raise AssertionError(f"the response lacks {', '.join(missing)}")
