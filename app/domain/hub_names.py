"""Names of model repositories on a hub."""

import re
from typing import Final

from app.errors import Invalid

MOST: Final = 96
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def check(name: str) -> None:
    """Check a name such as `desk/library-policy`.

    Raises:
        Invalid: it is none.
    """
    if len(name) > MOST or not _NAME.fullmatch(name):
        raise Invalid(
            f"a name on the hub is like desk/library-policy, of at most {MOST} letters, digits, "
            f"'-', '_' and '.', not {name!r}"
        )
