"""The errors of the domain. Messages name the thing, the rule and the value, never an HTTP status.

AttuneError
├── Invalid          a value breaks a rule ("overlap must be 1 to 99, not 0")
│   └── NotReady         a project lacks something that a round needs
├── NotFound         the thing does not exist, or the user may not see it
├── Forbidden        the user's role does not allow the action
│   └── SecondFactorDue  the user's role requires two-factor authentication, which is not on
├── Unauthenticated  the user is not signed in, or the credential is wrong or expired
├── Conflict         the thing was changed concurrently, or its state does not allow the action
│   ├── LeaseLost        the lease of the assignment or job has passed to someone else
│   └── ReplayMismatch   the same submission key was sent with a different body
├── TooMany          a rate limit was exceeded; try again later
├── FigurePending    a figure of a large project is being computed for the first time
└── Unavailable      a dependency does not respond (database, broker, model)
"""


class AttuneError(Exception):
    """Base class of every error that the product raises deliberately."""


class Invalid(AttuneError):
    """A value breaks a rule."""


class NotReady(Invalid):
    """A project lacks something that a round needs; `remedy` names where it is supplied."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class NotFound(AttuneError):
    """The thing does not exist, or the user may not see it."""


class Forbidden(AttuneError):
    """The user's role does not allow the action."""


class SecondFactorDue(Forbidden):
    """The user's role requires two-factor authentication, which is not on."""


class Unauthenticated(AttuneError):
    """The user is not signed in, or the credential is wrong or expired."""


class Conflict(AttuneError):
    """The thing was changed concurrently, or its state does not allow the action."""


class LeaseLost(Conflict):
    """The lease of the assignment or job has passed to someone else."""


class ReplayMismatch(Conflict):
    """The same submission key was sent with a different body."""


class TooMany(AttuneError):
    """A rate limit was exceeded; try again later."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(AttuneError):
    """A dependency does not respond."""


class FigurePending(AttuneError):
    """A figure of a large project is being computed for the first time; ask again in a moment."""
