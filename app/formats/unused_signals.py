"""The rule against losing judgments silently: a row is rejected if its format would lose one.

A row may hold a preference, a label or a score that its format does not use: a label "bad" beside a
completion, or a winner beside two responses. Without it, the row would be imported as something
else, such as a good demonstration or a bare prompt. Such fields are recognized by their names, in
eight languages (`judgment_words`); so are the two responses of a comparison. A row with a value in
one of them, which its format neither uses nor deliberately ignores, is rejected with a reason that
names the field and the remedy.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from app.errors import Invalid
from app.formats.format import Format
from app.formats.judgment_words import (
    ENGLISH,
    FOREIGN,
    LABEL,
    NAMES,
    PLACES,
    RESPONSE,
    RESPONSES,
    SCORE,
    words_of,
)
from app.formats.records import Row


def check(row: Row, known: Format) -> None:
    """Raise Invalid if the row holds a judgment that its format does not use.

    The message names the field, the rule and the remedy.
    """
    for path, kind in found(row):
        if not _covers(known.paths(row), path) and not covers(known.ignores, path):
            lost = "responses" if kind == RESPONSE else "judgment"
            raise Invalid(
                f"{path!r} holds {kind} that the format {known.name!r} does not use, and a row is "
                f"not read without its {lost}: map {path.partition('.')[0]!r} to a field that is "
                "used, name another format, or ignore the field in the mapping"
            )


def found(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the path of each field with a judgment, and the kind of judgment."""
    waiting: list[tuple[str, object]] = list(row.items())
    for path, value in waiting:
        # An empty string, list or object is no judgment, but zero and false may be.
        if not value and not isinstance(value, int | float):
            continue
        if kind := _kind_at(path):
            yield path, kind
        elif isinstance(value, dict):
            waiting.extend((f"{path}.{name}", inner) for name, inner in value.items())
        elif isinstance(value, list):
            waiting.extend((path, item) for item in value if isinstance(item, dict | list))


@lru_cache(maxsize=4096)
def kind_of(name: str) -> str | None:
    """Return the kind of judgment in a field of this name, or None."""
    words = words_of(name)
    if whole := NAMES.get("_".join(words)) or NAMES.get("".join(words)):
        return whole
    if len(words) == 2 and words[0] in RESPONSES and words[1] in PLACES:
        return RESPONSE
    known = ({**FOREIGN, **ENGLISH}.get(word) for word in words)
    return next((kind for kind in known if kind), None)


@lru_cache(maxsize=4096)
def _kind_at(path: str) -> str | None:
    return kind_of(path.rpartition(".")[2])


@lru_cache(maxsize=4096)
def is_value(name: str) -> bool:
    """Whether a column of this name may hold numbers or truth values.

    Words for preferences in other languages often name a column of texts.
    """
    words = words_of(name)
    is_english = any(word in ENGLISH for word in words) or bool(
        NAMES.get("_".join(words)) or NAMES.get("".join(words))
    )
    return is_english or kind_of(name) in (LABEL, SCORE)


@lru_cache(maxsize=4096)
def _covers(paths: tuple[str, ...], path: str) -> bool:
    return covers(paths, path)


def covers(paths: Iterable[str], path: str) -> bool:
    """Whether the path, or a field above it, is among these paths."""
    return any(path == known or path.startswith(f"{known}.") for known in paths)
