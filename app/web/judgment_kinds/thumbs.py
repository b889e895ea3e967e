"""Thumbs on the web side: good or bad, with reasons."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from app.domain.judgment_kinds import THUMB_REASONS, JudgmentKind, ThumbsBody
from app.errors import Invalid
from app.web.judgment_kinds.kind import JudgmentForm, JudgmentIn, JudgmentOut, PageKind


class ThumbsIn(JudgmentIn):
    """Up or down, optionally with some of the reasons that the assignment offers for it."""

    kind: Literal["thumbs"]
    thumb: Literal["up", "down"]
    reasons: list[str] = Field([], max_length=8)


class ThumbsOut(JudgmentOut):
    """A thumb as it was given."""

    kind: Literal["thumbs"] = "thumbs"
    thumb: str
    reasons: list[str]

    def fill(self, form: JudgmentForm) -> None:
        """Fill in the form with this thumb."""
        form.thumb, form.reasons = self.thumb, list(self.reasons)

    def words(self, names: Mapping[int, str]) -> str:
        """Describe the thumb and its reasons."""
        del names
        offered = THUMB_REASONS.get(self.thumb, {})
        reasons = (offered.get(reason, reason).lower() for reason in self.reasons)
        return ", ".join(["Good" if self.thumb == "up" else "Bad", *reasons])


def parse(form: JudgmentForm) -> ThumbsBody:
    """Read the thumb and its reasons."""
    if not form.thumb:
        raise Invalid("choose whether the response is good or bad")
    return ThumbsBody(form.thumb, tuple(form.reasons))


THUMBS = PageKind(
    JudgmentKind.THUMBS,
    parse,
    question="Is this response good?",
    task="Choose whether the response is good or bad.",
    task_keys=("1", "2"),
    verb="rate with thumbs",
    settled_format='The answer is `"up"` or `"down"`.',
)
