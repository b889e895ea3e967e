"""No public class name has two meanings in the product and the worker."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TO_BE_RENAMED = "another meaning, to be renamed"

# Name of a class that is defined more than once -> why that is right.
ALLOWED: dict[str, str] = {}


def _sources(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def _definitions(sources: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """Return the files that define each public class at the top of the module."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for path, source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(path)
    return files


def _repeated(sources: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    definitions = _definitions(sources)
    return {name: files for name, files in sorted(definitions.items()) if len(files) > 1}


def test_every_public_class_name_has_one_meaning() -> None:
    repeated = _repeated(_sources("app", "worker"))
    unexpected = {name: files for name, files in repeated.items() if name not in ALLOWED}
    assert unexpected == {}, "rename all but one, or state the reason in ALLOWED"


def test_every_exception_is_used_and_has_a_reason() -> None:
    repeated = _repeated(_sources("app", "worker"))
    assert set(ALLOWED) - set(repeated) == set(), "remove these names from ALLOWED"
    assert [name for name, reason in ALLOWED.items() if not reason.strip()] == []


def test_a_planted_second_meaning_is_found() -> None:
    planted = [
        ("app/a.py", "class Card: ...\nclass _Row: ...\nclass Page: ..."),
        ("worker/b.py", "class Card: ...\nclass _Row: ...\ndef Page(): ..."),
    ]
    assert _repeated(planted) == {"Card": ["app/a.py", "worker/b.py"]}
