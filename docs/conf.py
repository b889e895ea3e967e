"""How Sphinx builds the documentation site (`make docs`); docs/index.md holds its navigation.

The pages are written to be read in the repository, too, so the navigation is in no directive: the
lists of `index.md`, and the tables of the `README.md` of a folder, are the table of contents. A
page that none of them names, and a link that leads nowhere, fail the build.
"""

import re
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

project = "Attune"
extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["Thumbs.db"]
suppress_warnings = [
    "misc.highlighting_failure"
]  # `cron` and `csv` have no colors, and are no fault
myst_heading_anchors = 4  # the anchors that GitHub gives to headings
html_theme = "furo"
html_title = "Attune"
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"

SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
ENTRY: Final = re.compile(r"^(?:- |\| )\[[^\]]+\]\(([\w./-]+)\.md\)", re.MULTILINE)
# What a browser would fetch from elsewhere: the site must work from a folder, offline.
FOREIGN: Final = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"'](?:https?:)?//[^>]*>"
    r"|<link\b[^>]*\bhref=[\"'](?:https?:)?//[^>]*>"
)


def add_contents(_app: Sphinx, name: str, source: list[str]) -> None:
    """Append to the page of a folder the tables of contents that its lists describe."""
    if name == root_doc:
        _introduction, *sections = SECTION.split(source[0])
        source[0] += "".join(
            _contents(ENTRY.findall(text), title)
            for title, text in zip(sections[::2], sections[1::2], strict=True)
        )
    elif name.endswith("/README"):
        source[0] += _contents(page for page in ENTRY.findall(source[0]) if "/" not in page)


def _contents(pages: Any, caption: str = "") -> str:
    names = list(pages)
    options = f":caption: {caption}\n" if caption else ""
    return (
        f"\n\n```{{toctree}}\n:hidden:\n{options}\n" + "\n".join(names) + "\n```\n" if names else ""
    )


def refuse_foreign_resources(app: Sphinx, error: Exception | None) -> None:
    """Fail if a page would fetch a script, a style, a font or a picture from another host."""
    if error is not None or app.builder.format != "html":
        return
    for page in sorted(Path(app.outdir).rglob("*.html")):
        found = FOREIGN.search(page.read_text(encoding="utf-8"))
        if found:
            raise ExtensionError(f"{page.name} fetches from another host: {found.group()}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the two rules of this site."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", refuse_foreign_resources)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
