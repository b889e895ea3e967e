"""Write and edit: a response by the labeler, from scratch or as a better version of a completion.

Neither has a right answer, so neither is practiced.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.domain.judgment_kinds.kind import JudgmentBody, JudgmentKind, Kind, Rules
from app.errors import Invalid

TEXT_MOST_BYTES = 64 * 1024


class TextBody(JudgmentBody):
    """A text that the labeler wrote."""

    __slots__ = ()
    text: str

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a body from values by name."""
        return cls.of_text(content["text"] or "")

    @classmethod
    @abstractmethod
    def of_text(cls, text: str) -> Self:
        """Return the body with this text."""

    def to_json(self) -> dict[str, Any]:
        """Return the body as plain JSON values by name."""
        return {"text": self.text}

    def checked(self, rules: Rules) -> Self:
        """Return the body as it is stored; raise Invalid if it breaks a rule."""
        if not self.text.strip():
            raise Invalid("the text is empty; write something, or skip")
        size = len(self.text.encode("utf-8", "surrogatepass"))
        if size > TEXT_MOST_BYTES:
            raise Invalid(f"a text has at most {TEXT_MOST_BYTES} bytes, not {size}")
        if "\0" in self.text:
            raise Invalid("the text has a NUL character, which cannot be stored")
        if self.text == rules.original:
            raise Invalid("the text is the completion's own; change it, or skip")
        return self


@dataclass(frozen=True, slots=True)
class WriteBody(TextBody):
    """The labeler's own response to the prompt."""

    text: str

    kind = JudgmentKind.WRITE

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the body with this text."""
        return cls(text)


@dataclass(frozen=True, slots=True)
class EditBody(TextBody):
    """A better version of the completion."""

    text: str

    kind = JudgmentKind.EDIT

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the body with this text."""
        return cls(text)


WRITE = Kind(WriteBody, "a text", fewest=0, most=0, is_written=True, has_right_answer=False)
EDIT = Kind(
    EditBody,
    "an edit",
    fewest=1,
    most=1,
    is_written=True,
    is_preferred_text=True,
    has_right_answer=False,
)
