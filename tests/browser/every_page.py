"""Every page that the application has a route for, with each id that its address may name."""

import re
from collections.abc import Iterator, Mapping, Sequence

from fastapi.routing import APIRoute

FILES = ("download", "rejects.jsonl", "csv", "svg", "events", ".ico")
Ids = Mapping[str, Sequence[int | str]]


def pages(routes: Sequence[APIRoute]) -> Iterator[APIRoute]:
    """Yield the routes that answer with a page or a part of one."""
    for route in routes:
        is_page = "GET" in (route.methods or set()) and not route.path.startswith("/api/")
        if is_page and not route.path.endswith(FILES) and "{token}" not in route.path:
            yield route


def paths(routes: Sequence[APIRoute], ids: Ids, slug: str) -> Iterator[str]:
    """Yield the address of every page of a project and of those outside projects.

    Raises:
        AssertionError: an address names something of which there is no row.
    """
    for route in pages(routes):
        found = [route.path.replace("{slug}", slug)]
        for name in names_in(found[0]):
            assert name in ids, f"{route.path}: plant a row for {{{name}}}"
            found = [
                re.sub(rf"{{{name}(:\w+)?}}", str(one), path) for path in found for one in ids[name]
            ]
        yield from (f"{path}{'?old=1&new=2' if path.endswith('/diff') else ''}" for path in found)


def names_in(path: str) -> list[str]:
    """Return the names of the parameters of a route's path."""
    return re.findall(r"{(\w+)(?::\w+)?}", path)
