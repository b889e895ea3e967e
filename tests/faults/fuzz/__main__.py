"""`python -m tests.faults.fuzz`: attack a live server with SQLite, and one with PostgreSQL."""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, text

from app import logs
from app.db import Database, schema
from app.main import create_app
from app.settings import Settings
from app.web.deps import scope_of
from app.web.security import HEADERS, SAFE_METHODS
from tests.faults.fuzz import world
from tests.faults.fuzz.world import Asker
from tests.live import serve
from tests.web.routes import policies_of, routes_of

PINNED: Final = "schemathesis==4.32.5"
MIGHTIEST: Final = "admin"
FEW: Final = 3
CHECKS: Final = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "ignored_auth"),
    *("unsupported_method", "allow_header_conformance", "permission", "security_headers"),
)


def main() -> int:
    """Attack as each asker, print a line for each, and return the exit status."""
    options = _options()
    logs.configure("error", "json")
    tool = _installed(options.environment)
    failed = 0
    for kind in ("sqlite", *(["postgres"] if options.postgres else [])):
        for name in options.askers or world.REACH:
            with tempfile.TemporaryDirectory() as folder, _database(kind, options) as database:
                failed += not _attack(tool, Path(folder), database, name, options, kind)
    return int(failed > 0)


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--postgres", help="URL of a PostgreSQL server, without a database")
    parser.add_argument("--examples", type=int, default=30, help="per operation (default: 30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--askers", nargs="+", choices=world.REACH)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the limits of the schema, and hardly any random requests",
    )
    parser.add_argument(
        "--environment",
        type=Path,
        default=Path.home() / ".cache" / "attune" / "fuzz",
        help="where schemathesis is installed, apart from the project",
    )
    return parser.parse_args()


def _installed(folder: Path) -> Path:
    """Return schemathesis's command, which is installed once."""
    marker = folder / PINNED
    if not marker.exists():
        _tell(f"installing {PINNED} into {folder} (once)")
        venv.create(folder, with_pip=True, clear=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", PINNED]
        subprocess.run(command, check=True)
        marker.touch()
    return folder / "bin" / "schemathesis"


@contextmanager
def _database(kind: str, options: Any) -> Iterator[Database]:
    """Provide a migrated database, and drop it afterwards."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            database = Database(f"sqlite:///{folder}/attune.sqlite3")
            schema.upgrade(database.engine)
            yield database
            database.dispose()
        return
    name = f"attune_fuzz_{secrets.token_hex(6)}"
    admin = create_engine(f"{options.postgres}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        database = Database(f"{options.postgres}/{name}", pool_size=40)
        try:
            schema.upgrade(database.engine)
            yield database
        finally:
            database.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def _attack(
    tool: Path, folder: Path, database: Database, name: str, options: Any, kind: str
) -> bool:
    with database.transaction() as session:
        made = world.make(session)
    (asker,) = (one for one in made.askers if one.name == name)
    settings = Settings(data_dir=folder, secret_key="s" * 40, database_url="sqlite://")
    application = create_app(settings, database)
    application.openapi()  # takes seconds, which schemathesis would not wait for
    given = folder / "given.json"
    facts = {
        "asker": name,
        "ids": made.ids,
        "refused": _refused(application, asker),
        "headers": ["x-request-id", *HEADERS],
    }
    given.write_text(json.dumps(facts), encoding="utf-8")
    started = time.monotonic()
    with serve(application) as url:
        done = subprocess.run(
            _command(tool, url, asker, options),
            cwd=folder,
            env=os.environ | {"ATTUNE_FUZZ": str(given), "SCHEMATHESIS_HOOKS": _hooks()},
            capture_output=True,
            text=True,
            check=False,
        )
    took = time.monotonic() - started
    said = "held" if done.returncode == 0 else "FAILED"
    _tell(f"{kind:9} {name:11} {said:7} {took:5.0f} s  {_summary(done.stdout)}")
    if done.returncode:
        _tell(done.stdout[-40_000:] + done.stderr[-2_000:])
    return done.returncode == 0


def _command(tool: Path, url: str, asker: Asker, options: Any) -> list[str]:
    phases, examples = _effort(asker, options)
    command = [
        *(str(tool), "run", f"{url}/api/openapi.json", "--checks", ",".join(CHECKS)),
        *("--phases", phases, "--max-examples", str(examples), "--seed", str(options.seed)),
        *("--generation-deterministic", "--no-color", "--warnings", "off"),
        *("--continue-on-failure", "--request-timeout", "30", "--suppress-health-check", "all"),
    ]
    return (
        [*command, "--header", f"Authorization: Bearer {asker.token}"] if asker.token else command
    )


def _effort(asker: Asker, options: Any) -> tuple[str, int]:
    """Return the phases, and how many random requests an operation gets.

    Whoever may do everything is tried with every limit of the schema; the others are mostly
    refused, whatever they send.
    """
    if asker.name != MIGHTIEST:
        return "examples,fuzzing", FEW if options.quick else max(FEW, options.examples // 3)
    return f"examples,coverage{'' if options.quick else ',fuzzing'}", options.examples


def _refused(application: Any, asker: Asker) -> list[str]:
    """Name the operations that the asker may not use."""
    refused = []
    for route in routes_of(application):
        (policy,) = policies_of(route.dependant)
        for method in route.methods or ():
            allowed = asker.reads if method in SAFE_METHODS else asker.changes
            if policy not in allowed and scope_of(policy, method):
                refused.append(f"{method} {route.path}")
    return refused


def _summary(output: str) -> str:
    return "".join(re.findall(r"Test cases:\s*\n\s*(.+)", output)[-1:])


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _hooks() -> str:
    return str(Path(__file__).with_name("hooks.py"))


if __name__ == "__main__":
    sys.exit(main())
