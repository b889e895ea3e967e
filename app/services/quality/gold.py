"""Judgments against the gold answer of their comparison."""

from collections.abc import Mapping
from typing import Any

from app.domain import practice
from app.domain.judgment_kinds import RateBody


def is_right(gold_answer: Mapping[str, Any] | None, judgment: Any) -> bool | None:
    """Return whether a judgment matches the gold answer, or None if there is none.

    Fields that the gold answer leaves out are not compared.
    """
    if not gold_answer:
        return None
    gold_ratings = gold_answer.get("ratings")
    if gold_ratings:
        rated = RateBody(judgment.ratings or {})
        is_complete = set(gold_ratings) <= set(rated.ratings)
        return is_complete and practice.is_right(RateBody(gold_ratings), rated)
    names = ("preferred", "ranking", "both_bad", "thumb")
    return all(
        getattr(judgment, name) == gold_answer[name]
        for name in names
        if gold_answer.get(name) is not None
    )
