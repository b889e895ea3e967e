"""The rule against losing judgments silently: a row is rejected if its format would lose one.

A row may hold a preference, a label or a score that its format does not use: a label "bad" beside a
completion, or a winner beside two responses. Without it, the row would be imported as something
else, such as a good demonstration or a bare prompt. Such fields are recognized by their names. A
row with a value in one of them, which its format neither uses nor deliberately ignores, is rejected
with a reason that names the field and the remedy.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from app.errors import Invalid
from app.formats.format import Format
from app.formats.records import Row

_PREFERENCE = "a preference"
_LABEL = "a label"
_SCORE = "a score"
# A field whose name contains one of these words holds a judgment.
_WORDS = {
    **dict.fromkeys(("chosen", "rejected", "preferred", "unpreferred"), _PREFERENCE),
    **dict.fromkeys(("preference", "preferences", "winner", "winners", "loser"), _PREFERENCE),
    **dict.fromkeys(("better", "worse", "safer", "rank", "ranks", "ranking"), _PREFERENCE),
    **dict.fromkeys(("rankings", "vote", "votes", "upvotes", "downvotes", "margin"), _PREFERENCE),
    **dict.fromkeys(("label", "labels", "thumb", "thumbs"), _LABEL),
    **dict.fromkeys(("score", "scores", "rating", "ratings", "reward", "rewards"), _SCORE),
    **dict.fromkeys(("helpfulness", "harmlessness", "correctness", "coherence"), _SCORE),
    **dict.fromkeys(("honesty", "truthfulness", "toxicity"), _SCORE),
}
# These are whole names; their words are common in other fields.
_NAMES = {
    "choice": _PREFERENCE,
    "selected": _PREFERENCE,
    "best": _PREFERENCE,
    "quality": _SCORE,
    "thumbsup": _LABEL,
    "thumbsdown": _LABEL,
    "kto_tag": _LABEL,
    "is_safe": _LABEL,
    "is_response_0_safe": _LABEL,
    "is_response_1_safe": _LABEL,
    "is_good": _LABEL,
    "is_bad": _LABEL,
}
_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def check(row: Row, known: Format) -> None:
    """Raise Invalid if the row holds a judgment that its format does not use.

    The message names the field, the rule and the remedy.
    """
    for path, kind in found(row):
        if not _covers(known.paths(row), path) and not covers(known.ignores, path):
            raise Invalid(
                f"{path!r} holds {kind} that the format {known.name!r} does not use, and a row is "
                f"not read without its judgment: map {path.partition('.')[0]!r} to a field that is "
                "used, name another format, or ignore the field in the mapping"
            )


def found(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the path of each field with a judgment, and the kind of judgment."""
    waiting: list[tuple[str, object]] = [(name, value) for name, value in row.items()]
    for path, value in waiting:
        # An empty string, list or object is no judgment.
        if value is None or value in ("", [], {}):
            continue
        if kind := kind_of(path.rpartition(".")[2]):
            yield path, kind
        elif isinstance(value, dict):
            waiting.extend((f"{path}.{name}", inner) for name, inner in value.items())
        elif isinstance(value, list):
            waiting.extend((path, item) for item in value if isinstance(item, dict | list))


@lru_cache(maxsize=4096)
def kind_of(name: str) -> str | None:
    """Return the kind of judgment in a field of this name, or None."""
    words = [word.lower() for word in _BREAKS.split(name) if word]
    if whole := _NAMES.get("_".join(words)) or _NAMES.get("".join(words)):
        return whole
    return next((_WORDS[word] for word in words if word in _WORDS), None)


@lru_cache(maxsize=4096)
def _covers(paths: tuple[str, ...], path: str) -> bool:
    return covers(paths, path)


def covers(paths: Iterable[str], path: str) -> bool:
    """Whether the path, or a field above it, is among these paths."""
    return any(path == known or path.startswith(f"{known}.") for known in paths)
