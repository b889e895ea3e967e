"""The kinds of judgment: a module for each, and one table of them."""

from app.domain.judgment_kinds.kind import JudgmentBody, JudgmentKind, Kind, OrderBody, Rules
from app.domain.judgment_kinds.pick import STRENGTH_NAMES, PickBody
from app.domain.judgment_kinds.rank import RankBody
from app.domain.judgment_kinds.rate import RateBody
from app.domain.judgment_kinds.table import (
    KINDS,
    ORDERING_KINDS,
    RATED_KINDS,
    WRITTEN_KINDS,
    check,
    check_k,
    kind_named,
    of_blind_pairs,
)
from app.domain.judgment_kinds.text import TEXT_MOST_BYTES, EditBody, WriteBody
from app.domain.judgment_kinds.thumbs import THUMB_REASONS, ThumbsBody

__all__ = [
    "KINDS",
    "ORDERING_KINDS",
    "RATED_KINDS",
    "STRENGTH_NAMES",
    "TEXT_MOST_BYTES",
    "THUMB_REASONS",
    "WRITTEN_KINDS",
    "EditBody",
    "JudgmentBody",
    "JudgmentKind",
    "Kind",
    "OrderBody",
    "PickBody",
    "RankBody",
    "RateBody",
    "Rules",
    "ThumbsBody",
    "WriteBody",
    "check",
    "check_k",
    "kind_named",
    "of_blind_pairs",
]
