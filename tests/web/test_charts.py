"""Charts as pages describe them: what is drawn, the table, and the file have the same values."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.score_figures import histogram
from app.web import charts, score_chart, ticks
from app.web.charts import Chart, ChartBand, ChartEvent, ChartLine, ChartMark, LineStyle

STATIC = Path(__file__).parents[2] / "static"
values = st.floats(-1e6, 1e6, allow_nan=False)


def chart_of(ys: list[float], **columns: object) -> Chart:
    line = ChartLine("training", tuple((float(at), y) for at, y in enumerate(ys, 1)))
    return replace(Chart("t", "n", (line,)), **columns)  # type: ignore[arg-type]


@given(st.lists(values, max_size=60))
def test_the_file_has_every_value_exactly_and_the_drawing_to_seven_digits(ys: list[float]) -> None:
    chart = chart_of(ys)
    rows = list(csv.DictReader(io.StringIO(charts.csv_text(chart))))
    assert [float(row["value"]) for row in rows] == ys
    assert [int(row["step"]) for row in rows] == list(range(1, len(ys) + 1))
    drawn = json.loads(json.dumps(chart.drawing))["lines"]
    assert (drawn[0]["y"] if drawn else []) == pytest.approx(ys, rel=1e-6)


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 1), (40, 40), (41, 12), (5000, 12)])
def test_the_table_has_all_of_few_points_and_of_many_a_dozen_up_to_the_newest(
    count: int, rows: int
) -> None:
    chart = chart_of([at / 7 for at in range(count)])
    assert len(chart.rows) == rows
    assert chart.is_whole is (count <= 40)
    assert len(chart.rows_at(chart.places)) == count
    if count:
        place, (cell,) = chart.rows[-1]
        assert cell is not None
        assert (place, cell.value) == (float(count), (count - 1) / 7)
        assert chart.last == cell.value
    assert chart.is_empty is (count == 0)


def test_a_thinned_out_chart_says_where_the_rest_is() -> None:
    chart = chart_of([1.0, 2.0], every=25, csv_url="/points.csv")
    assert not chart.is_whole
    assert chart.drawing["whole"] == "/points.csv"
    assert chart_of([1.0], csv_url="/points.csv").drawing["whole"] == ""


def test_names_in_a_file_are_no_formulas_and_intervals_stand_beside_their_value() -> None:
    line = ChartLine("=1+1", ((1.0, 0.5), (2.0, 0.6)), run="@sum", ends=((0.4, 0.6), None))
    rows = list(csv.reader(io.StringIO(charts.csv_text(Chart("t", "", (line,), x_name="Round")))))
    assert rows == [
        ["run", "line", "round", "value", "low", "high"],
        ["'@sum", "'=1+1", "1", "0.5", "0.4", "0.6"],
        ["'@sum", "'=1+1", "2", "0.6", "", ""],
    ]


def test_levels_events_and_intervals_are_drawn() -> None:
    line = ChartLine("l", ((1.0, 2.0), (2.0, 3.0)), ends=(None, (2.0, 4.0)), is_thin=(False, True))
    chart = Chart(
        "KL", "", (line,), unit="nats", y_name="KL per response",
        marks=(ChartMark(9.0, "budget", is_limit=True),), bands=(ChartBand(1.0, 2.0, "ceiling"),),
        events=(ChartEvent(2.0, "alarm", "too far", is_alarm=True),),
    )  # fmt: skip
    drawing = json.loads(json.dumps(chart.drawing))
    assert drawing["y"] == "KL per response (nats)"
    assert drawing["marks"] == [{"value": 9.0, "label": "budget", "limit": True}]
    assert drawing["bands"] == [{"low": 1.0, "high": 2.0, "label": "ceiling"}]
    assert drawing["events"] == [{"x": 2.0, "label": "alarm", "why": "too far", "alarm": True}]
    assert [drawing["lines"][0][end] for end in ("low", "high")] == [[2.0, 2.0], [2.0, 4.0]]
    assert drawing["lines"][0]["thin"] == [False, True]
    assert chart.alarms == chart.events


def test_a_histogram_has_a_step_for_each_bin_and_loses_no_score() -> None:
    found = histogram([[0.0, 0.1, 1.0, None], [0.5] * 3], bins=4)
    chart = score_chart.of(found, ["before", "after"], threshold=0.5)
    assert [line.style for line in chart.lines] == [LineStyle.STEPS] * 2
    assert [sum(y for _, y in line.points) for line in chart.lines] == [3, 3]
    assert chart.columns == found.edges
    assert [event.x for event in chart.events] == [0.5]
    assert not chart.has_newest
    assert not score_chart.of(found, ["before", "after"], threshold=2.0).events


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("desk", "round 2", "KL to SFT"), "desk-round-2-KL-to-SFT"),
        (("../etc", "a/b\\c:d"), "etc-a-b-c-d"),
        (("заявки",), "chart"),
    ],
)
def test_file_names_are_plain(parts: tuple[str, ...], name: str) -> None:
    assert charts.file_name(*parts) == name


@given(values, values)
def test_ticks_of_pictures_are_few_round_and_inside(one: float, other: float) -> None:
    low, high = sorted((one, other))
    if high - low < 1e-3:
        return
    found = list(ticks.nice_values(low, high))
    assert 1 <= len(found) <= 6
    assert all(low - 1e-6 <= value <= high + 1e-6 for value in found)
    assert all(ticks.tick_label(value, high - low) for value in found)


def _token(name: str) -> tuple[str, str]:
    """Return a token's color in light and in dark."""
    text = "\n".join(path.read_text() for path in sorted((STATIC / "base").glob("*.css")))
    found = re.search(rf"--{name}: *light-dark\((#\w+), *(#\w+)\)", text)
    assert found is not None, name
    return found[1], found[2]


def _linear(color: str) -> tuple[float, float, float]:
    """Return the linear light of an sRGB color, each part from 0 to 1."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return r, g, b


def _luminance(color: str) -> float:
    r, g, b = _linear(color)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _seen(color: str, sight: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """Return a color in CIELAB as somebody sees it."""
    light = _linear(color)
    r, g, b = (min(max(sum(w * c for w, c in zip(row, light, strict=True)), 0), 1) for row in sight)
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.0888
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


# What linear RGB looks like without one kind of cones: Machado et al. (2009), severity 1.
SIGHTS = {
    "all": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": ((0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.052)),
    "deuteranopia": ((0.3673, 0.8606, -0.228), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.969)),
    "tritanopia": ((1.2555, -0.0767, -0.1788), (-0.0784, 0.9308, 0.1476), (0.0047, 0.6914, 0.3039)),
}
APART = 10.0
"""The least distance of two colors in CIELAB; about 2 can just be told apart side by side."""


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colors_of_data_stay_apart_for_every_sight(sight: str, theme: int) -> None:
    seen = [_seen(_token(f"data-{n}")[theme], SIGHTS[sight]) for n in range(1, 9)]
    assert min(math.dist(*pair) for pair in combinations(seen, 2)) >= APART


@pytest.mark.parametrize("number", range(1, 9))
def test_colors_of_data_stand_out_on_every_ground(number: int) -> None:
    for ground in ("sheet", "paper", "sunk"):
        for color, under in zip(_token(f"data-{number}"), _token(ground), strict=True):
            light, dark = sorted((_luminance(color), _luminance(under)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, (color, ground)
