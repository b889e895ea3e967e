"""The kinds of judgment on pages and in JSON: a module for each, and one table of them."""

from app.web.judgment_kinds.kind import (
    LETTERS,
    NUMBERS,
    JudgmentForm,
    JudgmentIn,
    JudgmentOut,
    PageKind,
    SettlementForm,
)
from app.web.judgment_kinds.pick import ScaleStep, scale
from app.web.judgment_kinds.table import (
    PAGE_KINDS,
    AnyJudgmentIn,
    AnyJudgmentOut,
    body_of_form,
    in_words,
    judgment_out,
)

__all__ = [
    "LETTERS",
    "NUMBERS",
    "PAGE_KINDS",
    "AnyJudgmentIn",
    "AnyJudgmentOut",
    "JudgmentForm",
    "JudgmentIn",
    "JudgmentOut",
    "PageKind",
    "ScaleStep",
    "SettlementForm",
    "body_of_form",
    "in_words",
    "judgment_out",
    "scale",
]
