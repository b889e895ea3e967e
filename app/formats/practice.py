"""Settled comparisons that come with a file: completions, the right answer and the reason.

`prompt` (or `messages`), `completions` and `answer`, which is "a", "b" or "tie" of two, a list of
ranks of several, "up" or "down" of one, or an object of ratings by criterion; "both_bad" says that
none is good, or that they cannot be ranked. `reason` is what labelers read. What kind of answer a
row needs is the project's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import Invalid
from app.formats import fields
from app.formats.completions import candidate
from app.formats.records import CompletionText, Conversation, Row, check_prompt


@dataclass(frozen=True, slots=True)
class PracticeRecord:
    """A comparison with its right answer, by the names that settled answers are kept under."""

    messages: Conversation
    candidates: tuple[CompletionText, ...]
    answer: Mapping[str, object]
    reason: str = ""

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        texts = [one.text for one in self.candidates]
        if not texts:
            raise Invalid("there are no completions")
        if len(set(texts)) < len(texts):
            raise Invalid("two of the completions are the same text")


def read(row: Row) -> PracticeRecord:
    """Read a row. Raises Invalid with the reason where it is not to be taken."""
    return PracticeRecord(
        fields.prompt(row, "prompt", "instruction", "messages"),
        tuple(
            candidate(value, f"completion {n}")
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
    if isinstance(value, list) and all(_is_whole(one) for one in value):
        return {"ranking": value}
    if isinstance(value, dict) and all(_is_ratings(one) for one in value.values()):
        return {"ratings": value}
    raise Invalid(
        f"'answer' is a, b, tie, up, down, both_bad, a list of ranks or ratings by criterion, "
        f"not {value!r}"
    )


def _is_ratings(value: object) -> bool:
    return isinstance(value, list) and all(_is_whole(one) for one in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
