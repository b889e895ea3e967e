"""Recognizes a full disk, however a library tells of it."""

import errno
from collections.abc import Iterator
from typing import Final

_NUMBERS: Final = (errno.ENOSPC, errno.EDQUOT)
_WORDS: Final = ("no space left on device", "disk is full", "storagefull", "quota exceeded")
"""Of libraries that do not pass the system's error on."""


def is_cause_of(error: BaseException) -> bool:
    """Whether an error, or what caused it, is a full disk."""
    return any(
        (isinstance(cause, OSError) and cause.errno in _NUMBERS)
        or any(words in str(cause).lower() for words in _WORDS)
        for cause in _causes(error)
    )


def path_in(error: BaseException) -> str:
    """Return the file that could not be written; empty if the error does not name it."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _NUMBERS and cause.filename:
            return str(cause.filename)
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
