"""Where a browser goes on after signing in: a page of this application, never another site."""

import re

_MOST = 1000  # characters, so that a cookie can hold it
_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")


def inside(target: str) -> str:
    r"""Return the target if it is a path of this application, and the first page otherwise.

    `//host` and `/\host` would lead to another site, and so would a path in which browsers skip a
    tab or a line break to find the same.
    """
    is_path = target.startswith("/") and not target.startswith("//")
    return target if is_path and len(target) <= _MOST and not _CONTROL.search(target) else "/"
