"""What commands print: people's text to standard error, machines' JSON to standard output."""

import json
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)


def say(message: str) -> None:
    """Print a line for people."""
    err.print(message)


def fail(message: str) -> NoReturn:
    """Print what is wrong and end with status 1."""
    err.print(f"[red]✗[/red] {escape(message)}", markup=True)  # "attune[worker]" is no style
    sys.exit(1)


def emit(data: Mapping[str, Any]) -> None:
    """Print one JSON object for machines."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
