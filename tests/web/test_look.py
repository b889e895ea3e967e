"""The tokens of the look: contrast of text and data, and a palette that everybody can tell apart.

Distances are Euclidean in OKLab (Ottosson 2020), in which about 0.02 is just noticeable; deficient
color vision is simulated with the matrices for severity 1 of Machado et al. (2009).
"""

import math
import re
from itertools import combinations

import pytest

from app.web.render import STATIC

THEMES = ("light", "dark")
GROUNDS = ("paper", "sheet", "sunk", "raised")
APART = 0.085  # of any two of the palette, with any color vision
FROM_ACCENT = 0.08  # with usual vision; a link is underlined or a button besides
VISION = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)

Vector = tuple[float, ...]


def _times(matrix: tuple[Vector, ...], vector: Vector) -> Vector:
    return tuple(sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)


def _linear(color: str) -> Vector:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)


def _lab(color: str, vision: str) -> Vector:
    seen = tuple(min(max(part, 0), 1) for part in _times(VISION[vision], _linear(color)))
    return _times(_TO_LAB, tuple(part ** (1 / 3) for part in _times(_TO_LMS, seen)))


def _distance(one: str, other: str, vision: str = "usual") -> float:
    pairs = zip(_lab(one, vision), _lab(other, vision), strict=True)
    return math.sqrt(sum((a - b) ** 2 for a, b in pairs))


def _contrast(one: str, other: str) -> float:
    shares = (0.2126, 0.7152, 0.0722)
    low, high = sorted(_times((shares,), _linear(color))[0] for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def _tokens(theme: str) -> dict[str, str]:
    text = (STATIC / "base/tokens.css").read_text()
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    return {name: (light, dark)[THEMES.index(theme)] for name, light, dark in found}


@pytest.mark.parametrize("theme", THEMES)
def test_the_palette_is_told_apart_with_any_color_vision(theme: str) -> None:
    tokens = _tokens(theme)
    palette = [tokens[f"data-{number}"] for number in range(1, 9)]
    close = [
        (vision, one, other)
        for vision in VISION
        for one, other in combinations(palette, 2)
        if _distance(one, other, vision) < APART
    ]
    assert close == []
    assert min(_distance(tokens["accent"], color) for color in palette) >= FROM_ACCENT
    faint = [
        (color, ground)
        for color in (*palette, tokens["data-rule"], tokens["progress"], tokens["edge"])
        for ground in GROUNDS
        if _contrast(color, tokens[ground]) < 3
    ]
    assert faint == []


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable_on_every_ground(theme: str) -> None:
    tokens = _tokens(theme)
    faint = [
        (ink, ground, round(_contrast(tokens[ink], tokens[ground]), 2))
        for ink in ("ink", "ink-2", "ink-3", "accent", "good", "warn", "bad")
        for ground in (*GROUNDS, "accent-wash")
        if _contrast(tokens[ink], tokens[ground]) < 4.5
    ]
    assert faint == []
    for tone in ("good", "warn", "bad", "accent"):
        for ink in ("ink", "ink-2", tone):
            assert _contrast(tokens[ink], tokens[f"{tone}-wash"]) >= 4.5, (tone, ink)
    assert _contrast(tokens["on-accent"], tokens["accent"]) >= 4.5


OWN_SIZES = {"label", "practice", "climb"}  # read for hours, or drawn to scale


def _sizes_outside_the_scale(style: str) -> list[str]:
    return re.findall(r"font-size: (?!var\(--(?:small|body|title)\)|inherit|0\b)([\d.]+rem)", style)


def test_pages_have_three_sizes_of_type() -> None:
    outside = {
        str(path.relative_to(STATIC)): found
        for path in sorted(STATIC.rglob("*.css"))
        if path.parent.name not in OWN_SIZES
        and (found := _sizes_outside_the_scale(path.read_text()))
    }
    assert outside == {"base/base.css": ["1rem"]}, "but for the labeling page"
    assert _sizes_outside_the_scale("h4 { font-size: 1.1rem; }") == ["1.1rem"]


def test_the_measure_knows_black_from_white_and_red_from_green() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _distance("#000000", "#ffffff") == pytest.approx(1, abs=1e-3)
    red, green = "#c04000", "#608000"
    assert _distance(red, green, "deuteranopia") < APART < _distance(red, green)
