"""The OpenID Connect provider: authorization code flow with PKCE, and checked ID tokens.

It needs the extra `oidc`, so only `app.main` imports it, where a provider is configured. Requests
and tokens are Authlib's; here are the checks that are this application's own: the issuer is exactly
the configured one, addresses are https, and signatures are made with the provider's public keys.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.domain.single_sign_on import ProvedIdentity, SingleSignOn, check_address
from app.errors import Forbidden, Invalid, Unavailable
from app.web.oidc_flow import Flow

TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 8
"""How many requests may wait for the provider at once, of the 40 that a process handles."""
TURN_S: Final = 2.0
FRESH_S: Final = 3600.0
"""How long the provider's addresses and keys are believed; new keys are fetched when needed."""
LEEWAY_S: Final = 60  # how far the clocks may differ
PUBLIC_KEY_ALGORITHMS: Final = frozenset(
    f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA", "Ed25519"}
"""The signatures that are accepted; never `none`, or one made with the client's secret."""
_SUBJECT_MOST: Final = 255  # OpenID Connect Core 2
_ADDRESSES: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Value]):
    value: Value
    until: float  # of the monotonic clock


class Provider:
    """A provider, with its addresses and keys once they have been asked for."""

    def __init__(self, setup: SingleSignOn) -> None:
        self.setup = setup
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._metadata: _Kept[Mapping[str, Any]] | None = None
        self._keys: _Kept[KeySet] | None = None

    def address(self, flow: Flow, redirect_uri: str) -> str:
        """Return the address at the provider that a browser goes to.

        Raises:
            Unavailable: the provider does not answer, or not as it should.
        """
        with self._turn(), self._client(redirect_uri) as client:
            endpoint = self._described()["authorization_endpoint"]
            url, _state = client.create_authorization_url(
                endpoint, state=flow.state, code_verifier=flow.verifier, nonce=flow.nonce
            )
        return str(url)

    def check_issuer(self, issuer: str) -> None:
        """Refuse an answer of another provider (RFC 9207).

        Raises:
            Forbidden: the answer names another issuer, or none though this provider names itself.
            Unavailable: the provider does not answer, or not as it should.
        """
        names_itself = self._described().get("authorization_response_iss_parameter_supported")
        if issuer != self.setup.issuer and (issuer or names_itself):
            raise Forbidden("this answer is not from the configured provider: sign in again")

    def identity(self, flow: Flow, redirect_uri: str, code: str) -> ProvedIdentity:
        """Exchange the code that a browser came back with for who its user is.

        Raises:
            Forbidden: the provider refused the code, or its token fails a check.
            Unavailable: the provider does not answer, or not as it should.
        """
        with self._turn():
            token = self._token(flow, redirect_uri, code)
            claims = self._claims(flow, token)
            address = self._described().get("userinfo_endpoint")
            if "email" not in claims and address:
                claims |= self._user_info(str(address), token, claims["sub"])
        return self._identity(claims)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let few requests wait for the provider at once: if it hangs, the others' work goes on."""
        if not self._turns.acquire(timeout=TURN_S):
            raise Unavailable(
                "too many people are waiting for the provider: try again in a moment, or sign in "
                "with your password"
            )
        try:
            yield
        finally:
            self._turns.release()

    def _token(self, flow: Flow, redirect_uri: str, code: str) -> Mapping[str, Any]:
        with self._client(redirect_uri) as client:
            try:
                token: Mapping[str, Any] = client.fetch_token(
                    self._described()["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                )
            except AuthlibBaseError as error:
                raise Forbidden(
                    f"the provider refused the sign-in ({_word(error.error)}): sign in again; if "
                    "it happens again, the operator should check the client's id and secret"
                ) from error
            except (httpx2.HTTPError, ValueError) as error:
                raise _unavailable(error) from error
        return token

    def _identity(self, claims: Mapping[str, Any]) -> ProvedIdentity:
        subject, email, groups = str(claims["sub"]), claims.get("email"), claims.get("groups")
        if len(subject) > _SUBJECT_MOST:
            raise Forbidden(f"the provider's id of you has more than {_SUBJECT_MOST} characters")
        names = (claims.get(name) for name in ("name", "preferred_username"))
        address = email.strip().lower() if isinstance(email, str) else ""
        name = next((one.strip() for one in names if isinstance(one, str) and one.strip()), "")
        listed = groups if isinstance(groups, list) else []
        return ProvedIdentity(
            self.setup.issuer,
            subject,
            address,
            claims.get("email_verified") in (True, "true"),  # some providers send a text
            name or address.partition("@")[0],
            # The browser may have to keep them, so not the hundreds that nobody asks about.
            tuple(one for one in listed if isinstance(one, str) and one in self.setup.groups),
        )

    def _client(self, redirect_uri: str) -> OAuth2Client:
        methods = self._described().get("token_endpoint_auth_methods_supported", [])
        in_body = (
            "client_secret_post" in methods
        )  # in headers, servers differ in how they decode it
        return OAuth2Client(
            client_id=self.setup.client_id,
            client_secret=self.setup.client_secret,
            token_endpoint_auth_method="client_secret_post" if in_body else "client_secret_basic",
            scope=self.setup.scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
        )

    def _claims(self, flow: Flow, token: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the ID token says, after all checks of OpenID Connect Core 3.1.3.7."""
        text = token.get("id_token")
        if not isinstance(text, str):
            raise Forbidden("the provider sent no ID token: the operator should request openid")
        try:
            decoded = self._decoded(text)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                options={
                    "iss": {"essential": True, "value": self.setup.issuer},
                    "aud": {"essential": True, "value": self.setup.client_id},
                    "sub": {"essential": True},
                },
                params={
                    "nonce": flow.nonce,
                    "client_id": self.setup.client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, AuthlibBaseError, ValueError) as error:
            raise Forbidden(
                f"the provider's ID token fails a check ({_word(error)}): sign in again; if it "
                "happens again, the operator should check ATTUNE_OIDC_ISSUER, "
                "ATTUNE_OIDC_CLIENT_ID and the clocks"
            ) from error
        return dict(claims)

    def _decoded(self, text: str) -> jwt.Token:
        """Return an ID token whose signature fits one of the provider's keys, old or new."""
        offered = self._described().get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = sorted(PUBLIC_KEY_ALGORITHMS.intersection(offered))
        keys, were_kept = self._current_keys()
        try:
            return jwt.decode(text, keys, algorithms=algorithms)
        except JoseError:
            if not were_kept:
                raise
        keys, _ = self._current_keys(renews=True)  # the provider may have changed them
        return jwt.decode(text, keys, algorithms=algorithms)

    def _user_info(self, address: str, token: Mapping[str, Any], subject: str) -> dict[str, Any]:
        """Return what the provider says about the bearer of the token, if it is the same person."""
        said = _fetched(address, authorization=f"Bearer {token.get('access_token')}")
        if said.get("sub") != subject:
            raise Forbidden("the provider described a different person from the one who signed in")
        return {name: said[name] for name in _DESCRIBING if name in said}

    def _described(self) -> Mapping[str, Any]:
        """Return what the provider says about itself, kept for an hour."""
        kept = self._metadata
        if kept is None or time.monotonic() >= kept.until:
            address = f"{self.setup.issuer.rstrip('/')}/.well-known/openid-configuration"
            kept = _Kept(self._checked(_fetched(address)), time.monotonic() + FRESH_S)
            self._metadata = kept
        return kept.value

    def _checked(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        if said.get("issuer") != self.setup.issuer:
            raise Unavailable(
                f"the provider calls itself {_word(said.get('issuer'))}: the operator should set "
                "ATTUNE_OIDC_ISSUER to exactly that, or correct the address"
            )
        try:
            for name in _ADDRESSES:
                check_address(f"the provider's {name}", str(said.get(name)))
            if "userinfo_endpoint" in said:
                check_address("the provider's userinfo_endpoint", str(said["userinfo_endpoint"]))
        except Invalid as error:
            raise Unavailable(str(error)) from error
        return said

    def _current_keys(self, *, renews: bool = False) -> tuple[KeySet, bool]:
        """Return the provider's keys, and whether they had been kept from before."""
        kept = self._keys
        if kept is not None and not renews and time.monotonic() < kept.until:
            return kept.value, True
        said = _fetched(str(self._described()["jwks_uri"]))
        try:
            keys = KeySet.import_key_set(said)  # type: ignore[arg-type]
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise _unavailable(error) from error
        self._keys = _Kept(keys, time.monotonic() + FRESH_S)
        return keys, False


_DESCRIBING: Final = ("email", "email_verified", "name", "preferred_username", "groups")


def _fetched(address: str, **headers: str) -> Mapping[str, Any]:
    accepted = {"accept": "application/json"}
    try:
        reply = httpx2.get(address, timeout=TIMEOUT_S, headers=accepted | headers)
        reply.raise_for_status()
        said = reply.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise _unavailable(error) from error
    if not isinstance(said, dict):
        raise _unavailable(ValueError(f"{address} is no JSON object"))
    return said


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        f"the provider does not respond as it should ({_word(error)}): try again in a while, or "
        "sign in with your password"
    )


def _word(said: object) -> str:
    """Shorten what another server said, to show it."""
    text = " ".join(str(said).split())
    return text if len(text) <= 120 else f"{text[:119]}…"
