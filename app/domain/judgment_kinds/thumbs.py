"""Thumbs: one completion is good or bad, optionally with reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.domain.judgment_kinds.kind import JudgmentBody, JudgmentKind, Kind, Rules
from app.errors import Invalid

THUMB_REASONS = {
    "up": {
        "helpful": "Does what was asked",
        "correct": "Correct",
        "clear": "Clear and to the point",
        "well_written": "Well written",
        "safe": "Careful where it matters",
    },
    "down": {
        "not_helpful": "Does not do what was asked",
        "wrong": "Wrong",
        "unclear": "Hard to follow",
        "badly_written": "Badly written",
        "unsafe": "Unsafe",
    },
}


@dataclass(frozen=True, slots=True)
class ThumbsBody(JudgmentBody):
    """`up` or `down`, optionally with reasons."""

    thumb: str
    reasons: tuple[str, ...] = ()

    kind = JudgmentKind.THUMBS

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a body from values by name."""
        return cls(content["thumb"] or "", tuple(content.get("reasons") or ()))

    @classmethod
    def from_settled(cls, answer: Mapping[str, Any]) -> Self | None:
        """Read a settled answer."""
        return cls.from_json(answer) if answer.get("thumb") else None

    def to_json(self) -> dict[str, Any]:
        """Return the body as plain JSON values by name."""
        return {"thumb": self.thumb, "reasons": list(self.reasons)}

    def digest_content(self) -> dict[str, Any]:
        """Return the values that two submissions must share; the order of reasons is not one."""
        return {"thumb": self.thumb, "reasons": sorted(self.reasons)}

    def checked(self, rules: Rules) -> Self:
        """Return the thumb, its reasons in the order offered; raise Invalid if one is unknown."""
        del rules
        if self.thumb not in THUMB_REASONS:
            raise Invalid(f"a thumb is up or down, not {self.thumb!r}")
        offered = THUMB_REASONS[self.thumb]
        for reason in self.reasons:
            if reason not in offered:
                raise Invalid(
                    f"a reason for {self.thumb} is one of {', '.join(offered)}; not {reason!r}"
                )
        return type(self)(self.thumb, tuple(name for name in offered if name in self.reasons))

    def is_right(self, settled: Self) -> bool:
        """Return whether the thumbs point the same way, whatever the reasons."""
        return self.thumb == settled.thumb


THUMBS = Kind(ThumbsBody, "a thumb", fewest=1, most=1, reasons=THUMB_REASONS)
