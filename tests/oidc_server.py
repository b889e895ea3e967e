"""An OpenID Connect provider on a real socket that follows the protocol, or breaks one rule of it.

It checks what a provider must: client and redirect address, PKCE, and that a code is used once, by
the client that it was made for. `spell` may change the claims of a token, `sign` its signature.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "attune", "hush-hush"
Claims = dict[str, Any]


@dataclass
class OidcServer:
    """The provider's behavior and its user, and the requests that it has seen."""

    redirect_uri: str
    url: str = ""
    user: Claims = field(
        default_factory=lambda: {
            "sub": "u-1",
            "email": "ada@example.org",
            "email_verified": True,
            "name": "Ada",
        }
    )
    auth_methods: tuple[str, ...] = ("client_secret_basic",)
    metadata: Claims = field(default_factory=dict)
    in_user_info: bool = False
    user_info: Claims = field(default_factory=dict)
    spell: Callable[[Claims], Claims] = dict
    sign: Callable[["OidcServer", Claims], str] | None = None
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, auto_kid=True))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def described(self) -> Claims:
        """Return the provider's metadata."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": list(self.auth_methods),
        } | self.metadata

    def authorize(self, query: dict[str, str]) -> str:
        """Return where a browser that was sent here goes on, as if its user had agreed."""
        needed = {
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        self.faults += [
            f"{name}: {query.get(name)}" for name in needed if query.get(name) != needed[name]
        ]
        self.faults += [
            f"no {name}" for name in ("state", "nonce", "code_challenge") if not query.get(name)
        ]
        if "openid" not in query.get("scope", "").split():
            self.faults.append("no scope openid")
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        answer = {"code": code, "state": query["state"], "iss": self.url}
        return f"{self.redirect_uri}?{urlencode(answer)}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, Claims]:
        """Exchange a code."""
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        in_body = (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        if not (
            in_body
            if self.auth_methods == ("client_secret_post",)
            else authorization == f"Basic {basic}"
        ):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), None)
        hashed = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != self.redirect_uri
            or challenge != asked.get("code_challenge")
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {
            "access_token": "access",
            "token_type": "Bearer",
            "expires_in": 60,
            "id_token": self.id_token(asked["nonce"]),
        }

    def id_token(self, nonce: str) -> str:
        """Return a signed token about the user."""
        moment = int(time.time())
        told = {"sub": self.user["sub"]} if self.in_user_info else self.user
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": moment,
            "exp": moment + 60,
            "nonce": nonce,
        }
        said = self.spell(claims | told)
        if self.sign is not None:
            return self.sign(self, said)
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, said, self.key)


def unsigned(_server: OidcServer, claims: Claims) -> str:
    """Sign with the algorithm `none`."""
    parts = ({"alg": "none"}, claims)
    texts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    return f"{'.'.join(texts)}."


def by_another_key(server: OidcServer, claims: Claims) -> str:
    """Sign with a key that only claims to be the provider's."""
    other = RSAKey.generate_key(2048)
    return jwt.encode({"alg": "RS256", "kid": server.key.kid}, claims, other)


def by_the_public_key(server: OidcServer, claims: Claims) -> str:
    """Sign with HMAC, with the public key as the secret."""
    import hmac  # noqa: PLC0415 - the library refuses to make such a token

    head = {"alg": "HS256", "kid": server.key.kid}
    texts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in (head, claims)
    )
    text = ".".join(texts)
    mac = hmac.new(server.key.as_pem(private=False), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


class _Handler(BaseHTTPRequestHandler):
    provider: OidcServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.provider.asked.append(parts.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            self._answer(200, self.provider.described())
        elif parts.path == "/jwks":
            self._answer(200, dict(KeySet([self.provider.key]).as_dict()))
        elif parts.path == "/userinfo" and self.headers["authorization"] == "Bearer access":
            self._answer(200, self.provider.user | self.provider.user_info)
        elif parts.path == "/authorize":
            self.send_response(302)
            self.send_header("location", self.provider.authorize(query))
            self.end_headers()
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        self.provider.asked.append(self.path)
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self._answer(*self.provider.token(form, self.headers.get("authorization", "")))

    def _answer(self, status: int, said: Claims) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: Any) -> None:
        return None


@contextmanager
def serve_oidc(redirect_uri: str) -> Iterator[OidcServer]:
    """Serve a provider on a free local port."""
    provider = OidcServer(redirect_uri)
    handler = type("Handler", (_Handler,), {"provider": provider})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        provider.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield provider
        server.shutdown()
        thread.join(10)
