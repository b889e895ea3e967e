"""docs/learning as pages show it: the glossary of logged numbers, and a page per algorithm.

One text for readers of the repository and of the product; nothing is shown where the folder is not
installed.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).resolve().parents[2] / "docs" / "learning"
GLOSSARY: Final = "glossary"
ALGORITHMS: Final = ("sft", "reward", "ppo", "rloo", "dpo", "best-of-n")

_STARTS = re.compile(r"\s*(\||[-*] |\d+\. |#)")
_ENTRY = re.compile(r"^\| `([^`]+)` \| (.+?) \| (.+?) \|$")


@dataclass(frozen=True, slots=True)
class Entry:
    """A logged number: what it is, and what a bad curve looks like."""

    name: str
    meaning: str
    bad: str
    section: str

    @property
    def anchor(self) -> str:
        """Where it is on the glossary's page."""
        return self.name.replace("/", "-")

    @property
    def tip(self) -> str:
        """Both in one plain text."""
        return f"{self.meaning} A bad sign: {self.bad}".replace("`", "")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page, its text in Markdown."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A page of docs/learning."""

    title: str
    sections: tuple[Section, ...]  # the first is what stands before any heading


@cache
def entries() -> dict[str, Entry]:
    """Return every entry by name, in the order of the page."""
    found: dict[str, Entry] = {}
    page = document(GLOSSARY)
    for section in page.sections if page else ():
        for line in section.text.splitlines():
            if match := _ENTRY.match(line):
                found[match[1]] = Entry(match[1], match[2], match[3], section.title)
    return found


def _unwrapped(text: str) -> str:
    """Join the lines of each paragraph and list item: pages break lines where a text does."""
    found: list[str] = []
    is_code = False
    for line in text.split("\n"):
        is_fence = line.strip().startswith("```")
        goes_on = not (is_code or is_fence or _STARTS.match(line) or not line.strip())
        if (
            goes_on
            and found
            and found[-1].strip()
            and not found[-1].strip().startswith(("|", "```"))
        ):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
        is_code ^= is_fence
    return "\n".join(found)


@cache
def document(name: str) -> Document | None:
    """Return a page by its name, or None where there is none."""
    path = DOCS / f"{name}.md"
    if name not in (GLOSSARY, *ALGORITHMS) or not path.is_file():
        return None
    head, *rest = path.read_text(encoding="utf-8").split("\n## ")
    title, _, opening = head.partition("\n")
    sections = [Section("", _unwrapped(opening.strip()))]
    for part in rest:
        heading, _, text = part.partition("\n")
        sections.append(Section(heading.strip(), _unwrapped(text.strip())))
    return Document(title.removeprefix("# ").strip(), tuple(sections))
