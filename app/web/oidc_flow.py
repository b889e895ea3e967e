"""What a browser keeps while its user is at the provider, and until an account is connected.

Both are encrypted and expire, so nothing is stored for people who only try. A browser has one
sign-in at a time; a second one that begins in another tab replaces the first.
"""

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from app.domain.single_sign_on import ProvedIdentity
from app.services.people import sealed_texts

LIFE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in that has begun: what its answer must match, and where the browser goes on.

    `state` binds the answer to this browser, `nonce` the token to this sign-in, and `verifier` the
    code to whoever asked for it (PKCE).
    """

    state: str
    nonce: str
    verifier: str
    next: str
    invitation: str

    @classmethod
    def begin(cls, next_: str, invitation: str) -> Self:
        """Begin a sign-in with secrets of its own."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, next_, invitation)

    def sealed(self, key: bytes) -> str:
        """Return what the browser keeps."""
        return _sealed(key, "single sign-on that has begun", asdict(self))

    @classmethod
    def unsealed(cls, key: bytes, text: str) -> Self | None:
        """Return what a browser kept; None if it is not ours, or too old."""
        said = _unsealed(key, "single sign-on that has begun", text)
        return cls(**said) if said is not None else None


@dataclass(frozen=True, slots=True)
class Connection:
    """Somebody whom the provider knows, while we ask for the password of their account."""

    identity: ProvedIdentity
    next: str

    def sealed(self, key: bytes) -> str:
        """Return what the browser keeps."""
        return _sealed(key, "account to connect", asdict(self))

    @classmethod
    def unsealed(cls, key: bytes, text: str) -> Self | None:
        """Return what a browser kept; None if it is not ours, or too old."""
        said = _unsealed(key, "account to connect", text)
        if said is None:
            return None
        identity = said["identity"]
        groups = tuple(identity.pop("groups"))
        return cls(ProvedIdentity(**identity, groups=groups), said["next"])


def _sealed(key: bytes, purpose: str, said: dict[str, Any]) -> str:
    until = (datetime.now(UTC) + LIFE).timestamp()
    return sealed_texts.seal(key, purpose, json.dumps({"until": until, "said": said}))


def _unsealed(key: bytes, purpose: str, text: str) -> dict[str, Any] | None:
    opened = sealed_texts.unseal(key, purpose, text)
    if opened is None:
        return None
    kept = json.loads(opened)
    is_fresh = kept["until"] > datetime.now(UTC).timestamp()
    said: dict[str, Any] = kept["said"]
    return said if is_fresh else None
