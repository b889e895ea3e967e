"""Settings from the environment (`ATTUNE_…`); only entry points read them.

The defaults run the product embedded on one machine without any setup: SQLite, no Redis, artifacts
and a generated secret under `data_dir`. Unknown `ATTUNE_` names are errors, so that a misspelled
setting does not silently fall back to its default.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app import secret_files
from app.errors import Invalid

PREFIX = "ATTUNE_"
SECRET_LEAST = 32
DATABASE_FILE = "attune.sqlite3"
FROM_FILES = (
    *("database_url", "broker_url", "secret_key"),
    *("completion_server_key", "reward_endpoint_key"),
)
"""Settings that a file may hold, which a setting of the same name and `_file` names."""
OF_THE_CLIENT = frozenset({"ATTUNE_URL", "ATTUNE_TOKEN", "ATTUNE_CACHE"})
"""Names that the package `attune` reads; they are no settings of a server, and no mistakes."""


class Settings(BaseSettings):
    """The settings of a deployment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(Path(".attune"), description="Database, artifacts, secret and logs.")
    database_url: str | None = Field(None, description="Default: SQLite under the data directory.")
    database_url_file: Path | None = Field(None, description="File with that URL.")
    broker_url: str | None = Field(
        None, description="Redis URL for Celery; without one, workers poll."
    )
    broker_url_file: Path | None = Field(None, description="File with that URL.")
    artifacts_url: str | None = Field(None, description="Folder or fsspec URL for checkpoints.")
    secret_key: SecretStr | None = Field(None, description="At least 32 characters.")
    secret_key_file: Path | None = Field(None, description="File with that key.")
    host: str = Field("127.0.0.1", description="Address the web server binds to.")
    port: int = Field(
        8000, ge=0, le=65535, description="Port the web server binds to; 0 picks a free one."
    )
    public_url: str | None = Field(None, description="URL that users open, if behind a proxy.")
    trusted_proxies: str = Field(
        "",
        description="Comma-separated addresses or networks of proxies whose forwarded headers are "
        "trusted; * trusts any.",
    )
    allow_plain_http: bool = Field(
        False, description="Let people sign in without https from other machines."
    )
    require_two_factor: bool = Field(
        False,
        description="Require two-factor authentication of leads and administrators in browsers.",
    )
    oidc_issuer: str | None = Field(
        None, description="URL of an OpenID Connect provider that people may sign in with."
    )
    oidc_client_id: str | None = Field(None, description="Id of this installation there.")
    oidc_client_secret: SecretStr | None = Field(None, description="Its secret there.")
    oidc_client_secret_file: Path | None = Field(None, description="File with that secret.")
    oidc_scopes: str = Field("openid email profile", description="Scopes to request.")
    oidc_allowed_domains: str = Field(
        "", description="Comma-separated domains of e-mail addresses that may sign in."
    )
    oidc_allowed_groups: str = Field(
        "", description="Comma-separated groups, of the claim `groups`, that may sign in."
    )
    oidc_creates_accounts: bool = Field(
        False, description="Create accounts for people who were not invited."
    )
    oidc_button: str = Field(
        "Sign in with single sign-on", min_length=1, description="Label of the button."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    max_upload_mib: int = Field(512, ge=1, description="Largest accepted upload, in MiB.")
    allowed_base_models: str | None = Field(
        None,
        description="Comma-separated patterns of hub names and paths that may be loaded. Default: "
        "all on the embedded database, none otherwise.",
    )
    completion_servers: str = Field(
        "", description="Comma-separated URLs of OpenAI-compatible servers that rounds may use."
    )
    completion_server_key: SecretStr | None = Field(
        None, description="API key sent to those servers."
    )
    completion_server_key_file: Path | None = Field(None, description="File with that key.")
    adapter_folder: Path | None = Field(
        None,
        description="Folder that workers and sampling servers see under the same path, for the "
        "adapters of policies in training.",
    )
    judge_servers: str = Field(
        "",
        description="Comma-separated URLs of OpenAI-compatible servers for AI judges; "
        "URL=VARIABLE names the environment variable with a server's API key.",
    )
    reward_endpoints: str = Field(
        "",
        description="Comma-separated URLs of HTTP endpoints that rounds may use as rewards.",
    )
    reward_endpoint_key: SecretStr | None = Field(
        None, description="Bearer token sent to those endpoints."
    )
    reward_endpoint_key_file: Path | None = Field(None, description="File with that token.")
    backup_max_age_h: int = Field(
        48, ge=0, description="Hours after which a backup is too old; 0 for no warning."
    )
    job_processes: int = Field(
        1, ge=1, le=64, description="Processes of a training job on a worker, one per GPU."
    )
    job_hosts: int = Field(
        1, ge=1, le=64, description="Hosts that share each training job, this one included."
    )
    job_rendezvous: str = Field(
        "", description="HOST:PORT of the group's first host, where the others join its jobs."
    )
    job_lease_s: int = Field(40, ge=2)
    job_heartbeat_s: int = Field(10, ge=1)
    job_sweep_s: int = Field(10, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Fill in the settings that files hold; an empty name of a file is none.

        Raises:
            Invalid: a setting is given twice, or its file cannot be read or is empty.
        """
        read = {name: value for name, value in given.items() if value or not _names_file(name)}
        for name in FROM_FILES:
            path = read.get(f"{name}_file")
            if path is None:
                continue
            variable = f"{PREFIX}{name}".upper()
            if read.get(name):
                raise Invalid(f"set {variable} or {variable}_FILE, not both")
            read[name] = secret_files.read(f"{variable}_FILE", Path(path))
        return read

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"it must be like https://attune.example.org, not {url!r}")
        return url.rstrip("/")

    @field_validator(
        "oidc_issuer", "oidc_client_id", "oidc_client_secret_file", "adapter_folder", mode="before"
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return value if value else None  # as container files set what they pass on

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted_proxies(cls, listed: str) -> str:
        for proxy in filter(None, (part.strip() for part in listed.split(","))):
            try:
                if proxy != "*":
                    ip_network(proxy)
            except ValueError as error:
                raise ValueError(
                    f"it takes addresses and networks such as 10.0.0.0/8, not {proxy!r}"
                ) from error
        return listed

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / DATABASE_FILE}"

    @property
    def artifacts(self) -> str:
        """The artifact root in force."""
        return self.artifacts_url or str(self.data_dir.absolute() / "artifacts")

    @property
    def base_models(self) -> str:
        """The patterns of base models in force: on a shared database, none unless set."""
        if self.allowed_base_models is None:
            return "*" if self.is_embedded else ""
        return self.allowed_base_models

    @property
    def trained_models(self) -> tuple[str, str]:
        """The folders with models that were trained here, which are no base models."""
        return self.artifacts, str(self.work.absolute())

    @property
    def work(self) -> Path:
        """The folder for logs, training states and downloads of this machine's worker."""
        return self.data_dir / "work"

    @property
    def oidc_secret(self) -> str:
        """The secret of this installation at the OpenID Connect provider; empty without one.

        Raises:
            Invalid: it is given twice, or its file cannot be read.
        """
        given = self.oidc_client_secret.get_secret_value() if self.oidc_client_secret else ""
        path = self.oidc_client_secret_file
        if path is None:
            return given
        name = "ATTUNE_OIDC_CLIENT_SECRET_FILE"
        if given:
            raise Invalid(f"set ATTUNE_OIDC_CLIENT_SECRET or {name}, not both")
        return secret_files.read(name, path)

    @property
    def is_embedded(self) -> bool:
        """Whether the default database is used: one machine, no setup."""
        return self.database_url is None

    @cached_property
    def secret(self) -> bytes:
        """The key from which display orders, form tokens and encryption keys are derived.

        The embedded default generates it and stores it under the data directory on first use.

        Raises:
            Invalid: the key is too short, or missing outside the embedded default.
        """
        if self.secret_key is not None:
            value = self.secret_key.get_secret_value()
            if len(value) < SECRET_LEAST:
                raise Invalid(
                    f"ATTUNE_SECRET_KEY must have at least {SECRET_LEAST} characters, "
                    f"not {len(value)}"
                )
            return value.encode()
        if not self.is_embedded:
            raise Invalid("ATTUNE_SECRET_KEY must be set when ATTUNE_DATABASE_URL is set")
        return _read_or_create_secret(self.data_dir / "secret")

    def prepare(self) -> "Settings":
        """Create the data directory, for its owner alone; return self.

        An embedded database that others could read is made private too.
        """
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.is_embedded:
            _make_private(self.data_dir / DATABASE_FILE)
        return self


def _where_to_look(name: str, known: set[str]) -> str:
    """Return the known names that are like this one, or else where all of them are listed."""
    alike = get_close_matches(name.upper(), sorted(known), n=3, cutoff=0.8)
    return f"did you mean {' or '.join(alike)}?" if alike else "docs/settings.md lists all settings"


def load(*, prepares: bool = True, **overrides: Any) -> Settings:
    """Read the settings from the environment; `prepares` the data directory.

    Raises:
        Invalid: a name is unknown or a value breaks a rule; the message names the setting.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX) and name.upper() not in known | OF_THE_CLIENT
    )
    if unknown:
        raise Invalid(f"unknown setting {unknown[0]}; {_where_to_look(unknown[0], known)}")
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise Invalid("; ".join(_sentences(error))) from error
    return settings.prepare() if prepares else settings


def _names_file(name: str) -> bool:
    return name.removesuffix("_file") in FROM_FILES and name.endswith("_file")


def _sentences(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        name = f"{PREFIX}{problem['loc'][0]}".upper()
        told = problem["msg"].removeprefix("Value error, ")
        given = "" if problem["type"] == "value_error" else f", not {problem['input']!r}"
        yield f"{name}: {told[:1].lower()}{told[1:]}{given}"


def _read_or_create_secret(path: Path) -> bytes:
    """Return the secret; of processes that start at once, one creates it and all read it whole."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_urlsafe(48).encode())
        with suppress(FileExistsError):
            os.link(written, path)
        written.unlink()
    _make_private(path)
    secret = path.read_bytes()
    if len(secret) < SECRET_LEAST:
        raise Invalid(f"{path} must have at least {SECRET_LEAST} bytes, not {len(secret)}")
    return secret


def _make_private(path: Path) -> None:
    """Let only the owner read a file that others could; files of other owners stay as they are."""
    if path.is_file() and path.stat().st_mode & 0o077:
        with suppress(PermissionError):
            path.chmod(0o600)
