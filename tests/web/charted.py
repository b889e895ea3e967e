"""The charts of a page, and their files, as tests read them."""

import csv
import html
import io
import json
import re
from typing import Any

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
        (line["run"], line["name"], x): (
            y,
            *(line[end][at] for end in ("low", "high") if end in line),
        )
        for line in drawing["lines"]
        for at, (x, y) in enumerate(zip(line["x"], line["y"], strict=True))
    }
    place = drawing["x"].lower()
    filed = {
        (row["run"], row["line"], float(row[place])): tuple(
            float(row[name]) for name in ("value", "low", "high") if row[name]
        )
        for row in rows(text)
    }
    assert drawn.keys() == filed.keys()
    for point, values in filed.items():
        assert all(
            abs(a - b) <= 1e-6 * max(abs(a), 1) for a, b in zip(values, drawn[point], strict=True)
        )
