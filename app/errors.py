"""The domain's errors. They name the thing, the rule and the value, and know nothing of HTTP.

AttuneError
├── Invalid          a value breaks a rule ("overlap must be 1 to 99, not 0")
├── NotFound         there is no such thing here, or it is not yours to see
├── Forbidden        you are signed in, but your role does not allow this
├── Unauthenticated  you are not signed in, or the credential is wrong or expired
├── Conflict         the thing changed meanwhile, or the state does not allow the move
│   ├── LeaseLost        the assignment or the job belongs to someone else by now
│   └── ReplayMismatch   the same submission key came with another body
├── TooMany          a throttle: try again later
└── Unavailable      something we depend on does not answer (database, broker, model)
"""


class AttuneError(Exception):
    """Base of every error the product raises on purpose."""


class Invalid(AttuneError):
    """A value breaks a rule."""


class NotFound(AttuneError):
    """There is no such thing here, or it is not yours to see."""


class Forbidden(AttuneError):
    """The role does not allow this."""


class Unauthenticated(AttuneError):
    """Not signed in, or the credential is wrong or expired."""


class Conflict(AttuneError):
    """The thing changed meanwhile, or its state does not allow the move."""


class LeaseLost(Conflict):
    """The assignment or the job belongs to someone else by now."""


class ReplayMismatch(Conflict):
    """The same submission key came with another body."""


class TooMany(AttuneError):
    """A throttle said no; try again later."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(AttuneError):
    """Something we depend on does not answer."""
