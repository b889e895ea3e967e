"""Files of an acceptance case: its settings as JSON, and the model folder beside it.

Needs only the standard library, since peers import it in their own environments.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

MODEL_FOLDER = "model"
CASE_FILE = "case.json"

Case = TypeVar("Case")


def write(case: Any, folder: Path) -> None:
    """Write a case where `read` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CASE_FILE).write_text(json.dumps(asdict(case)))


def read(folder: Path, kind: type[Case]) -> Case:
    """Return the case in a folder."""
    return kind(**json.loads((folder / CASE_FILE).read_text()))
