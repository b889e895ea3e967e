"""The pages for operators name files, settings and places that exist."""

import re
from pathlib import Path

import pytest

from app.settings import OF_THE_CLIENT, Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = ("operations.md", "deploying.md", "runbooks.md", "security.md", "settings.md")
FILE = re.compile(r"`((?:app|worker|tests|deploy|docs)/[\w./-]+)`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w.-]+))?\)")
SETTING = re.compile(r"\bATTUNE_[A-Z_]+\b")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# A plain word for all that begin so, and what the client reads.
NO_SETTINGS = {"ATTUNE_"} | OF_THE_CLIENT


def _anchors(path: Path) -> set[str]:
    titles = HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for name in FILE.findall(text):
        assert (ROOT / name).exists(), name
    known = {f"ATTUNE_{name}".upper() for name in Settings.model_fields}
    assert set(SETTING.findall(text)) - known - NO_SETTINGS == set()
    for target, anchor in LINK.findall(text):
        if target.startswith("http"):
            continue
        path = DOCS / (target or page)
        assert path.exists(), target
        assert not anchor or anchor in _anchors(path), f"{target}#{anchor}"


def test_every_threat_names_what_holds_it_and_a_test() -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    holds = text.partition("## What holds")[2].partition("## What does not hold")[0]
    rows = [line.split(" | ") for line in holds.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0] not in {"| threat", "| ---"}]
    assert len(rows) > 20
    for row in rows:
        _threat, _measure, modules, tests = row
        assert re.search(r"`(app|worker)/[\w./]+\.py`", modules), row
        assert re.search(r"`tests/[\w./]+`", tests), row


def test_the_readme_leads_to_every_page_for_operators() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page for page in PAGES if f"(docs/{page})" not in readme] == []
