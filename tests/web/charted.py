"""The charts of a page, and their files, as tests read them."""

import csv
import html
import io
import json
import re
from typing import Any

import pytest

_PARTS = ("y", "low", "high")

Drawing = dict[str, Any]


def of_page(text: str) -> dict[str, Drawing]:
    """Return what the charts of a page draw, by title."""
    found = re.findall(r'data-chart="([^"]*)"', text)
    return {one["title"]: one for one in (json.loads(html.unescape(part)) for part in found)}


def rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a chart's file."""
    return list(csv.DictReader(io.StringIO(text)))


def assert_same(drawing: Drawing, text: str) -> None:
    """A chart's file has the points that are drawn, and no others."""
    drawn = {
        (line["run"], line["name"], x): [line[part][at] for part in _PARTS if part in line]
        for line in drawing["lines"]
        for at, x in enumerate(line["x"])
    }
    place = drawing["x"].lower()
    filed = {
        (row["run"], row["line"], float(row[place])): [
            float(row[part]) for part in ("value", "low", "high") if row[part]
        ]
        for row in rows(text)
    }
    assert drawn.keys() == filed.keys()
    for point, values in filed.items():
        assert drawn[point][: len(values)] == pytest.approx(values, rel=1e-6)
