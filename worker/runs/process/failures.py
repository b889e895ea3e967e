"""What a failed job tells people, and whether trying again may help."""

from app import full_disk
from app.errors import AttuneError, Unavailable
from worker.outages import is_outage


def describe(error: BaseException) -> str:
    """Return one line for people; the app's own errors are readable as they are."""
    if full_disk.is_cause_of(error):
        path = full_disk.path_in(error)
        place = f" at {path}" if path else ""
        return f"the disk is full{place}; free some space, and the job goes on when retried"
    if is_outage(error):
        return "the database did not respond while the job used it"
    return str(error) if isinstance(error, AttuneError) else f"{type(error).__name__}: {error}"


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed: after a full disk or an outage it may, not after a wrong shape.

    A run that was storing rows finds those that it stored before, because their keys are natural.

    A plain OSError without a number is how transformers says that there is no such model.
    """
    if full_disk.is_cause_of(error) or is_outage(error):
        return True
    if type(error) is OSError and error.errno is None:
        return False
    return isinstance(error, Unavailable | OSError)
