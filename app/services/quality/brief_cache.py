"""Results that are kept in this process for a time in proportion to what they took to compute.

A count of a million rows may then be some seconds old on a page that refreshes every second; a
count of a few rows is practically current. Sessions that write neither read nor fill the memory.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy.orm import Session

from app.services.quality.result_memory import ResultMemory, is_writing, key_of

LIFETIME_FACTOR = 20  # a result lives for so many times its computing time

Params = ParamSpec("Params")
Result = TypeVar("Result")

_by_expiry: ResultMemory[float] = ResultMemory()


def cached_briefly(
    compute: Callable[Concatenate[Session, Params], Result],
) -> Callable[Concatenate[Session, Params], Result]:
    """Cache the results of a function for twenty times as long as it took to compute them."""
    name = f"{compute.__module__}.{compute.__qualname__}"

    @wraps(compute)
    def lookup(session: Session, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        if is_writing(session):
            return compute(session, *args, **kwargs)
        key = key_of(session, name, *args, **kwargs)
        started_at_s = time.monotonic()
        entry = _by_expiry.get(key)
        if entry is not None and started_at_s < entry[0]:
            return cast(Result, entry[1])
        result = compute(session, *args, **kwargs)
        ended_at_s = time.monotonic()
        expires_at_s = ended_at_s + LIFETIME_FACTOR * (ended_at_s - started_at_s)
        _by_expiry.put(key, expires_at_s, result)
        return result

    return lookup
