"""No judgment is lost in silence: fields that carry one are used, or their row is rejected.

A row may hold a preference, a label or a score that its format knows nothing about: a label that
says "bad" beside a completion, a winner beside two responses. Read without it, the row would come
in as something else, a good demonstration or a bare prompt. So such fields are known by their
names, and a row that holds one with a value, which its format neither reads nor ignores on purpose,
is rejected with a reason that names the field and the remedy.
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
# One of these words in a field's name says that it carries a judgment.
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
# These carry a judgment as whole names only: their words are common in other fields.
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
    """Refuse a row with a judgment that its format does not use.

    Raises Invalid with the field, the rule and the remedy.
    """
    used = known.paths(row)
    for path, kind in found(row):
        if not covers(used, path) and not covers(known.ignores, path):
            raise Invalid(
                f"{path!r} holds {kind} that the format {known.name!r} does not use, and a row is "
                f"not read without its judgment: map {path.partition('.')[0]!r} to a field that is "
                "used, name another format, or ignore the field in the mapping"
            )


def found(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the path of each field that carries a judgment and has a value, and what it carries."""
    waiting: list[tuple[str, object]] = [(name, value) for name, value in row.items()]
    for path, value in waiting:
        # An empty text, list or object says nothing.
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
    """Say what a field of this name carries: a preference, a label, a score, or None of them."""
    words = [word.lower() for word in _BREAKS.split(name) if word]
    if whole := _NAMES.get("_".join(words)) or _NAMES.get("".join(words)):
        return whole
    return next((_WORDS[word] for word in words if word in _WORDS), None)


def covers(paths: Iterable[str], path: str) -> bool:
    """Tell whether one of these paths is the path, or a field above it."""
    return any(path == known or path.startswith(f"{known}.") for known in paths)
