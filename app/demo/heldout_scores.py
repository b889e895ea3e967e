"""Reads the held-out scores that lie in a reward model's folder, out of its downloaded tar."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.errors import NotFound

FILE = "heldout_scores.jsonl"


def read(archive: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each held-out comparison: its messages, texts and scores.

    Raises:
        NotFound: the archive holds no such file.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.rsplit("/", 1)[-1] == FILE:
                file = tar.extractfile(member)
                assert file is not None  # it is a file
                yield from (json.loads(line) for line in file)
                return
    raise NotFound(f"the reward model's folder holds no {FILE}")
