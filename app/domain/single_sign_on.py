"""Single sign-on with OpenID Connect: what the operator set, and whom that lets in."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from app.errors import Forbidden, Invalid


class SingleSignOnSettings(Protocol):
    """The settings that it is read from."""

    @property
    def oidc_issuer(self) -> str | None: ...  # noqa: D102 - app.settings says what each means
    @property
    def oidc_client_id(self) -> str | None: ...  # noqa: D102
    @property
    def oidc_secret(self) -> str: ...  # noqa: D102
    @property
    def oidc_scopes(self) -> str: ...  # noqa: D102
    @property
    def oidc_allowed_domains(self) -> str: ...  # noqa: D102
    @property
    def oidc_allowed_groups(self) -> str: ...  # noqa: D102
    @property
    def oidc_creates_accounts(self) -> bool: ...  # noqa: D102
    @property
    def oidc_button(self) -> str: ...  # noqa: D102
    @property
    def public_url(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ProvedIdentity:
    """A person as the provider knows them, from a token whose signature was checked."""

    issuer: str
    subject: str
    email: str
    is_verified: bool
    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SingleSignOn:
    """The provider, and whom it may let in."""

    issuer: str
    client_id: str
    client_secret: str
    scopes: str
    domains: frozenset[str]
    groups: frozenset[str]
    creates_accounts: bool
    button: str

    @classmethod
    def of(cls, settings: SingleSignOnSettings) -> "SingleSignOn | None":
        """Return what the settings say; None if there is no provider.

        Raises:
            Invalid: they are incomplete, or a value breaks a rule; the message names the setting.
        """
        missing = _missing(settings)
        if settings.oidc_issuer is None and missing is None:
            return None
        if missing is not None:
            raise Invalid(missing)
        issuer, client_id = settings.oidc_issuer, settings.oidc_client_id
        assert issuer is not None
        assert client_id is not None
        check_address("ATTUNE_OIDC_ISSUER", issuer)
        if "openid" not in settings.oidc_scopes.split():
            raise Invalid(f"ATTUNE_OIDC_SCOPES must have openid, not {settings.oidc_scopes!r}")
        return cls(
            issuer,
            client_id,
            settings.oidc_secret,
            " ".join(settings.oidc_scopes.split()),
            frozenset(_domains(settings.oidc_allowed_domains)),
            frozenset(_listed(settings.oidc_allowed_groups)),
            settings.oidc_creates_accounts,
            settings.oidc_button,
        )

    def check(self, identity: ProvedIdentity) -> None:
        """Refuse whoever the provider knows but the operator does not let in.

        Raises:
            Forbidden: the e-mail address is missing or not verified, its domain is not allowed, or
                the person is in none of the groups.
        """
        if "@" not in identity.email:
            raise Forbidden(
                "the provider did not say your e-mail address: ask the operator to request the "
                "scope email, and check that your account there has an address"
            )
        if not identity.is_verified:
            raise Forbidden(
                f"the provider has not verified that {identity.email} is yours: verify the address "
                "there, then sign in again"
            )
        domain = identity.email.rpartition("@")[2].lower()
        if self.domains and domain not in self.domains:
            raise Forbidden(
                f"addresses of {domain} cannot sign in here: use one of "
                f"{', '.join(sorted(self.domains))}, or ask the operator to allow yours"
            )
        if self.groups and not self.groups.intersection(identity.groups):
            raise Forbidden(
                f"{identity.email} is in none of the groups that may sign in here: ask the "
                "operator which group you need"
            )


def check_address(name: str, url: str) -> None:
    """Refuse an address that is not https, except on this machine.

    Raises:
        Invalid: the message has the name and the address.
    """
    parts = urlsplit(url)
    is_plain_and_near = parts.scheme == "http" and _is_loopback(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or is_plain_and_near):
        raise Invalid(f"{name} must be an address such as https://login.example.org, not {url!r}")
    if name.isupper() and (parts.query or parts.fragment):
        raise Invalid(f"{name} must have no ? and no #, not {url!r}")


def _missing(settings: SingleSignOnSettings) -> str | None:
    """Return what half of the settings lacks; None if all or none are set."""
    needed = {
        "ATTUNE_OIDC_ISSUER": settings.oidc_issuer,
        "ATTUNE_OIDC_CLIENT_ID": settings.oidc_client_id,
        "ATTUNE_OIDC_CLIENT_SECRET or ATTUNE_OIDC_CLIENT_SECRET_FILE": settings.oidc_secret,
    }
    further = {
        "ATTUNE_OIDC_ALLOWED_DOMAINS": settings.oidc_allowed_domains.strip(),
        "ATTUNE_OIDC_ALLOWED_GROUPS": settings.oidc_allowed_groups.strip(),
        "ATTUNE_OIDC_CREATES_ACCOUNTS": settings.oidc_creates_accounts,
    }
    given = [name for name, value in (needed | further).items() if value]
    if not given:
        return None
    lacking = [name for name, value in needed.items() if not value]
    if lacking:
        return f"{given[0]} is set, but not {lacking[0]}: single sign-on needs both"
    if settings.public_url is None:
        return (
            "ATTUNE_OIDC_ISSUER is set, but not ATTUNE_PUBLIC_URL: the provider sends people back "
            "to that address"
        )
    return None


def _domains(listed: str) -> Iterator[str]:
    for domain in _listed(listed):
        if "@" in domain or "*" in domain or "." not in domain:
            raise Invalid(
                f"ATTUNE_OIDC_ALLOWED_DOMAINS takes domains such as example.org, not {domain!r}"
            )
        yield domain.lower()


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
