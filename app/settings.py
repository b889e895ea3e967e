"""Settings from the environment (`ATTUNE_…`); only entry points read them.

The defaults run the product embedded on one machine without any setup: SQLite, no Redis, artifacts
and a generated secret under `data_dir`. Unknown `ATTUNE_` names are errors, so that a misspelled
setting does not silently fall back to its default.
"""

import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import Invalid

PREFIX = "ATTUNE_"


class Settings(BaseSettings):
    """The settings of a deployment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(Path(".attune"), description="Database, artifacts, secret and logs.")
    database_url: str | None = Field(None, description="Default: SQLite under the data directory.")
    broker_url: str | None = Field(
        None, description="Redis URL for Celery; without one, workers poll."
    )
    artifacts_url: str | None = Field(None, description="Folder or fsspec URL for checkpoints.")
    secret_key: SecretStr | None = Field(None, description="At least 32 characters.")
    host: str = Field("127.0.0.1", description="Address the web server binds to.")
    port: int = Field(
        8000, ge=0, le=65535, description="Port the web server binds to; 0 picks a free one."
    )
    public_url: str | None = Field(None, description="URL that users open, if behind a proxy.")
    trusted_proxies: str = Field("", description="Proxies whose forwarded headers are trusted.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    max_upload_mib: int = Field(512, ge=1, description="Largest accepted upload, in MiB.")
    allowed_base_models: str = Field(
        "*", description="Comma-separated patterns of hub names and paths that may be loaded."
    )
    completion_servers: str = Field(
        "", description="Comma-separated URLs of OpenAI-compatible servers that rounds may use."
    )
    completion_server_key: SecretStr | None = Field(
        None, description="API key sent to those servers."
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
    job_processes: int = Field(
        1, ge=1, le=64, description="Processes of a training job on a worker, one per GPU."
    )
    job_lease_s: int = Field(40, ge=2)
    job_heartbeat_s: int = Field(10, ge=1)
    job_sweep_s: int = Field(10, ge=1)

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'attune.sqlite3'}"

    @property
    def artifacts(self) -> str:
        """The artifact root in force."""
        return self.artifacts_url or str(self.data_dir.absolute() / "artifacts")

    @property
    def is_embedded(self) -> bool:
        """Whether the default database is used: one machine, no setup."""
        return self.database_url is None

    @cached_property
    def secret(self) -> bytes:
        """The key from which display orders and form tokens are derived.

        The embedded default generates it and stores it under the data directory on first use.

        Raises:
            Invalid: the key is too short, or missing outside the embedded default.
        """
        if self.secret_key is not None:
            value = self.secret_key.get_secret_value()
            if len(value) < 32:
                raise Invalid(
                    f"ATTUNE_SECRET_KEY must have at least 32 characters, not {len(value)}"
                )
            return value.encode()
        if not self.is_embedded:
            raise Invalid("ATTUNE_SECRET_KEY must be set when ATTUNE_DATABASE_URL is set")
        return _read_or_create_secret(self.data_dir / "secret")

    def prepare(self) -> "Settings":
        """Create the data directory; return self."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return self


def load(**overrides: Any) -> Settings:
    """Read the settings from the environment; raise Invalid for an unknown `ATTUNE_` name."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if unknown:
        raise Invalid(f"unknown setting {unknown[0]}; known settings: {', '.join(sorted(known))}")
    return Settings(**overrides).prepare()


def _read_or_create_secret(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        secret = secrets.token_urlsafe(48).encode()
        file.write(secret)
    return secret
