"""The pages of docs/learning: the glossary of logged metrics, and a page for each algorithm.

The repository and the product show the same text. Without the folder, nothing is shown.
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
_CODE_OR_MARK = re.compile(r"(`+).*?\1|(?<=\w)'|\"([^\"]*)\"", re.DOTALL)
_ENTRY = re.compile(r"^\| `([^`]+)` \| (.+?) \| (.+?) \|$")


@dataclass(frozen=True, slots=True)
class GlossaryEntry:
    """A logged metric: what it is, and the sign of a problem."""

    name: str
    meaning: str
    bad: str
    section: str

    @property
    def anchor(self) -> str:
        """The fragment of its entry on the glossary page."""
        return self.name.replace("/", "-")

    @property
    def tip(self) -> str:
        """The meaning and the warning sign, as plain text."""
        return f"{self.meaning} Warning sign: {self.bad}".replace("`", "")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a page, with its text in Markdown."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A page of docs/learning."""

    title: str
    sections: tuple[Section, ...]  # the first is the text before any heading


@cache
def entries() -> dict[str, GlossaryEntry]:
    """Return all entries by name, in the order of the page."""
    known: dict[str, GlossaryEntry] = {}
    page = document(GLOSSARY)
    for section in page.sections if page else ():
        for line in section.text.splitlines():
            if match := _ENTRY.match(line):
                known[match[1]] = GlossaryEntry(match[1], match[2], match[3], section.title)
    return known


def _as_in_print(found: re.Match[str]) -> str:
    """Return an apostrophe or a quotation as pages have it, and code as it is."""
    if found[1]:
        return found[0]
    return "’" if found[0] == "'" else f"“{found[2]}”"


def _unwrapped(text: str) -> str:
    """Join the lines of each paragraph and list item, because the renderer keeps line breaks."""
    lines: list[str] = []
    is_code = False
    for line in text.split("\n"):
        is_fence = line.strip().startswith("```")
        continues = not (is_code or is_fence or _STARTS.match(line) or not line.strip())
        if (
            continues
            and lines
            and lines[-1].strip()
            and not lines[-1].strip().startswith(("|", "```"))
        ):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
        is_code ^= is_fence
    return "\n".join(lines)


@cache
def document(name: str) -> Document | None:
    """Return a page by its name, or None if there is no such page."""
    path = DOCS / f"{name}.md"
    if name not in (GLOSSARY, *ALGORITHMS) or not path.is_file():
        return None
    text = _CODE_OR_MARK.sub(_as_in_print, path.read_text(encoding="utf-8"))
    head, *rest = text.split("\n## ")
    title, _, opening = head.partition("\n")
    sections = [Section("", _unwrapped(opening.strip()))]
    for part in rest:
        heading, _, text = part.partition("\n")
        sections.append(Section(heading.strip(), _unwrapped(text.strip())))
    return Document(title.removeprefix("# ").strip(), tuple(sections))
