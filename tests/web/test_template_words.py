"""The typography of words in templates, also of those that no test's page shows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parents[2] / "templates"
FAULTS: Final = {
    "a straight apostrophe": re.compile(r"(?<=[A-Za-z])'"),
    "a straight quotation mark": re.compile("&quot;"),
    "a hyphen as a dash": re.compile(r"(?<=[a-z]) --? (?=[a-z])"),
    "a doubled full stop": re.compile(r"(?<!\.)\.\.(?!\.)"),
    "three dots for an ellipsis": re.compile(r"[a-z ]\.\.\."),
    "a space before a comma": re.compile(r"[a-z] ,"),
    "a unit after a comma": re.compile(r", percent\b"),
}

_INLINE: Final = re.compile(r"</?(?:a|b|code|em|kbd|small|span|strong|time)\b[^>]*>")
_TAG: Final = re.compile(r"<[^>]*>")


def _words(source: str) -> Iterator[str]:
    """Yield the text between tags of Jinja, without comments, and its strings in double quotes."""
    for _, kind, value in Environment().lex(source):
        if kind == "data":
            yield _TAG.sub("\n", _INLINE.sub("", value))
        elif kind == "string" and value.startswith('"'):
            yield value[1:-1]


def faults_of(source: str) -> list[str]:
    """Return what is wrong with the words of a template."""
    return [
        f"{what}: {text[max(found.start() - 30, 0) : found.end() + 30].strip()!r}"
        for text in _words(source)
        for what, pattern in FAULTS.items()
        for found in pattern.finditer(text)
    ]


def test_words_in_templates_are_set_as_in_print() -> None:
    paths = sorted(TEMPLATES.rglob("*.html"))
    assert len(paths) > 100  # or else the test has read nothing
    faults = [f"{path}: {fault}" for path in paths for fault in faults_of(path.read_text("utf-8"))]
    assert not faults, "\n".join(faults)


def test_each_fault_is_found() -> None:
    source = """{{ field("a", help="the judge's name") }} it ends .. then - or so {# isn't #}
        <b>labelers' work</b> , loading ... {{ "Gold, percent" }} {{ x['it'] }} &quot;Save&quot;"""
    found = {fault.split(":")[0] for fault in faults_of(source)}
    assert found == set(FAULTS)
    assert len([fault for fault in faults_of(source) if "apostrophe" in fault]) == 2
