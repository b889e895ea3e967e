"""Practice comparisons from a file: completions, the correct judgment, and the reason for it.

Rows hold `prompt` (or `messages`), `completions` and `answer`: "a", "b" or "tie" for two
completions, a list of ranks for several, "up" or "down" for one, or an object of ratings by
criterion; "both_bad" means that none is good, or that they cannot be ranked. Labelers see the
`reason`. The project determines which kind of judgment a row needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import Invalid
from app.formats import completions, fields
from app.formats.records import (
    CompletionText,
    Conversation,
    Row,
    check_follow_ups,
    check_prompt,
)


@dataclass(frozen=True, slots=True)
class PracticeRecord:
    """A comparison with its correct judgment, as the fields that are stored with the comparison."""

    messages: Conversation
    candidates: tuple[CompletionText, ...]
    answer: Mapping[str, object]
    reason: str = ""

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        texts = [candidate.turns for candidate in self.candidates]
        if not texts:
            raise Invalid("there are no completions")
        if len(set(texts)) < len(texts):
            raise Invalid("two of the completions have the same text")
        check_follow_ups(self.candidates)


def read(row: Row) -> PracticeRecord:
    """Read a row. Raises Invalid with the reason if it must be rejected."""
    return PracticeRecord(
        fields.prompt(row, "prompt", "instruction", "messages"),
        tuple(
            completions.read_completion(value, f"completion {n}")
            for n, value in enumerate(fields.items(row, "completions"), 1)
        ),
        _answer(row.get("answer")),
        (fields.optional_text(row, "reason") or "").strip(),
    )


def _answer(value: object) -> Mapping[str, object]:
    if value == "both_bad":
        return {"both_bad": True}
    if value in ("a", "b", "tie"):
        return {"preferred": value}
    if value in ("up", "down"):
        return {"thumb": value}
    if _is_whole_numbers(value):
        return {"ranking": value}
    if isinstance(value, dict) and all(map(_is_whole_numbers, value.values())):
        return {"ratings": value}
    raise Invalid(
        "'answer' must be a, b, tie, up, down, both_bad, a list of ranks or ratings by criterion, "
        f"not {value!r}"
    )


def _is_whole_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_whole, value))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
