"""What pages, messages and documents advise exists: targets of the Makefile, and settings."""

import re
from pathlib import Path

from app.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ELSEWHERE = {"URL", "TOKEN", "CACHE", "TEST_POSTGRES", "TEST_REQUIRE"}  # of the client, of tests


def test_every_make_target_that_is_advised_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    sources = [*DOCUMENTS, *(ROOT / "app").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]
    advised = {
        target
        for path in sources
        for target in re.findall(r"(?:run |`)make ([a-z-]+)", path.read_text(encoding="utf-8"))
    }
    assert "proof" in advised
    assert advised <= targets


def test_every_setting_that_a_document_names_exists() -> None:
    known = {name.upper() for name in Settings.model_fields} | ELSEWHERE
    named = {
        (path.name, name)
        for path in DOCUMENTS
        for name in re.findall(rf"\b{PREFIX}([A-Z_]*[A-Z])\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > len(known)
    assert {(path, name) for path, name in named if name not in known} == set()
