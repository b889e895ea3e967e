"""docs/formats.md names every import format, with every field that it uses or ignores."""

import re
from pathlib import Path

import pytest

from app.formats import fields
from app.formats.format import Format
from app.formats.known_formats import ALL_FORMATS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
ROWS: dict[str, str] = dict(re.findall(r"^\| `([\w-]+)` \|(.*)$", DOCUMENT, re.MULTILINE))


@pytest.mark.parametrize("known", ALL_FORMATS, ids=lambda known: known.name)
def test_every_field_of_a_format_is_documented(known: Format) -> None:
    # The ways to state a margin are described once, above the tables.
    scores = set(fields.MARGINS) - {"margin"}
    named = set(re.findall(r"[`*]([\w.-]+)[`*]", ROWS[known.name]))
    for path in (*known.fields, *known.ignores):
        names = {path, path.replace("-", "_"), *path.split(".")}
        assert path in scores or names & named, path


def test_no_format_is_documented_that_does_not_exist() -> None:
    assert set(ROWS) == {known.name for known in ALL_FORMATS}
