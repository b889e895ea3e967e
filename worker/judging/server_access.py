"""How this process calls a judge's server: only with the key that the operator's list names."""

import os

from app.domain.judges.servers import AllowedServer
from app.errors import Invalid


def key_of(server: AllowedServer) -> str | None:
    """Return the server's API key from the environment; None if it needs none.

    Raises:
        Invalid: the variable that should hold it is not set.
    """
    key = os.environ.get(server.key_variable) if server.key_variable else None
    if server.key_variable and not key:
        raise Invalid(
            f"the key of {server.url} is expected in the environment variable "
            f"{server.key_variable}, which is not set for this worker"
        )
    return key
