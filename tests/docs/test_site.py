"""The pages of the documentation name each other, and each is in the navigation.

`make docs` builds the site; these rules hold without its tools.
"""

import os.path
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ENTRY = re.compile(r"^(?:- |\| )\[[^\]]+\]\(([\w./-]+\.md)\)", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LONGEST_PICTURES = 1_500_000


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    titles = (re.sub(r"\]\([^)]*\)", "", title) for title in HEADING.findall(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _entries(page: Path) -> list[Path]:
    return [(page.parent / name).resolve() for name in ENTRY.findall(_prose(page))]


def _reached() -> set[Path]:
    """Return the pages that a reader finds by the lists of the index and of each folder."""
    index = DOCS / "index.md"
    pages = {index, *_entries(index)}
    for folder in [page for page in pages if page.name == "README.md"]:
        pages |= {page for page in _entries(folder) if page.parent == folder.parent}
    return pages


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    assert _reached() == set(PAGES)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=str)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in LINK.findall(_prose(page)):
        if re.match(r"https?:|mailto:", target):
            continue
        path = Path(os.path.normpath(page.parent / target)) if target else page
        assert path.exists(), target
        assert not (DOCS in page.parents and DOCS not in path.parents), f"{target} leaves docs/"
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path), f"{target}#{anchor}"


def test_the_pictures_are_small_and_each_is_shown() -> None:
    pictures = sorted((DOCS / "pictures").iterdir())
    assert sum(picture.stat().st_size for picture in pictures) < LONGEST_PICTURES
    texts = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *PAGES])
    assert [picture.name for picture in pictures if f"pictures/{picture.name}" not in texts] == []
