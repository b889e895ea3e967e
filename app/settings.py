"""Settings from the environment (`ATTUNE_…`); only entry points read them.

Everything has a default that makes the embedded product work on one machine without any set-up:
SQLite, no Redis, artifacts and the generated secret under `data_dir`. Unknown `ATTUNE_` names are
errors, so that a typing mistake is not a silent default.
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
    """What an operator can decide."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(Path(".attune"), description="Database, artifacts, secret and logs.")
    database_url: str | None = Field(None, description="Default: SQLite under the data directory.")
    broker_url: str | None = Field(None, description="Redis for Celery; none: workers poll.")
    artifacts_url: str | None = Field(None, description="Folder or fsspec URL of checkpoints.")
    secret_key: SecretStr | None = Field(None, description="At least 32 characters.")
    host: str = Field("127.0.0.1", description="Address the web server binds.")
    port: int = Field(8000, ge=0, le=65535, description="Port the web server binds; 0: any.")
    public_url: str | None = Field(None, description="Address people use, behind a proxy.")
    trusted_proxies: str = Field("", description="Proxies whose forwarded headers are believed.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    max_upload_mib: int = Field(512, ge=1, description="Largest accepted upload.")
    allowed_base_models: str = Field(
        "*", description="Comma-separated patterns of hub names and paths that may be loaded."
    )
    completion_servers: str = Field(
        "", description="Comma-separated URLs of OpenAI-compatible servers that rounds may ask."
    )
    completion_server_key: SecretStr | None = Field(None, description="Sent to those servers.")
    job_processes: int = Field(
        1, ge=1, le=64, description="Processes of a training job on a worker: one for each GPU."
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
        """True with the default database: one machine, nothing to set up."""
        return self.database_url is None

    @cached_property
    def secret(self) -> bytes:
        """The key that derives display orders and form tokens.

        Raises:
            Invalid: outside the embedded default no secret is made up.
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
        return _generated_secret(self.data_dir / "secret")

    def prepare(self) -> "Settings":
        """Make the data directory; return self."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return self


def load(**overrides: Any) -> Settings:
    """Read the environment; refuse `ATTUNE_` names that mean nothing."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if unknown:
        raise Invalid(f"unknown setting {unknown[0]}; known are {', '.join(sorted(known))}")
    return Settings(**overrides).prepare()


def _generated_secret(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        secret = secrets.token_urlsafe(48).encode()
        file.write(secret)
    return secret
