"""Reads the held-out scores from the downloaded tar archive of a reward model."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.errors import NotFound

FILE = "heldout_scores.jsonl"


def read(archive: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per held-out comparison: its messages, texts and scores.

    Raises:
        NotFound: the archive has no such file.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.rsplit("/", 1)[-1] == FILE:
                file = tar.extractfile(member)
                assert file is not None  # only None for members that are not files
                yield from (json.loads(line) for line in file)
                return
    raise NotFound(f"the archive of the reward model has no {FILE}")
