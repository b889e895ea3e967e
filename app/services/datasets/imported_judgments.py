"""Judgments from files: what a vote says of a comparison, whether it was said before, and its rows.

The rows are those of a labeler who has submitted a judgment here: a slot that is done, an
assignment that was submitted, and the first revision of a judgment.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, update
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain.instruction_text import UNKNOWN
from app.domain.judgment_kinds import KINDS, JudgmentKind, OrderBody
from app.domain.ranking import Ranking
from app.domain.states import AssignmentState
from app.formats.records import VoteRecord
from app.models import Assignment, Judgment
from app.services.project import criteria

_ANSWER = ("preferred", "ranking", "ratings", "thumb", "text", "both_bad")
_COMPARED = (*_ANSWER, "strength", "margin")
_SUBMITTED = AssignmentState.SUBMITTED.value
_SAID = (*_ANSWER, "strength", "margin", "reasons")
_ASSIGNMENT = (
    *("id", "project_id", "comparison_id", "slot_id", "labeler_id", "lease_token", "state"),
    *("shown_order", "leased_at", "expires_at", "ended_at", "skip_reason", "skip_comment"),
)
_JUDGMENT = (
    *("id", "project_id", "assignment_id", "comparison_id", "labeler_id", "revision"),
    *("supersedes_id", "is_current", "is_retraction", "is_surplus", "kind", *_SAID, "flags"),
    *("comment", "shown_order", "guidelines_version", "instruction_version"),
    *("submission_key", "body_hash", "started_at", "submitted_at", "active_ms"),
)


class Said(NamedTuple):
    """What a judgment says, in canonical order; `id` is that of a stored one."""

    answer: tuple[Any, ...]
    strength: int | None
    margin: float | None
    id: int | None = None
    reasons: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NewJudgment:
    """A vote to store; `places` has the vote's index of each completion in canonical order."""

    vote: VoteRecord
    labeler_id: int
    said: Said
    places: Sequence[int]


@dataclass(frozen=True, slots=True)
class JudgedSlots:
    """New judgments of a comparison, and a slot for each."""

    comparison_id: int
    kind: JudgmentKind
    slot_ids: Sequence[int]
    judgments: Sequence[NewJudgment]


def current(session: Session, pairs: Collection[tuple[int, int]]) -> dict[tuple[int, int], Said]:
    """Return the current judgments of these comparisons by these labelers."""
    if not pairs:
        return {}
    place = (Judgment.comparison_id, Judgment.labeler_id)
    columns = (*place, Judgment.id, *(getattr(Judgment, name) for name in _COMPARED))
    query = bulk.with_pairs(session, *place, pairs, columns, Judgment.is_current)
    return {
        (row[0], row[1]): Said(tuple(row[3:-2]), row[-2], row[-1], row[2])
        for row in session.execute(query)
    }


def said(kind: JudgmentKind, vote: VoteRecord, places: Sequence[int]) -> Said:
    """Return what a vote says, in the canonical order of its comparison."""
    body = KINDS[kind].body
    if issubclass(body, OrderBody):
        ranking = vote.ranking and Ranking(tuple(vote.ranking.ranks[at] for at in places))
        order = body.of_ranking(ranking, both_bad=vote.both_bad or ranking is None).to_json()
        ordered = (order.get("preferred"), order.get("ranking"), None, None, None)
        strength = None if vote.strength is None else int(vote.strength)
        return Said((*ordered, order["both_bad"]), strength, vote.margin)
    ratings: dict[str, list[int]] | None = None
    if vote.ratings is not None:
        ratings = {name: [of[at] for at in places] for name, of in vote.ratings.items()}
    answer = (None, None, ratings, vote.thumb, vote.text, False)
    return Said(answer, None, None, reasons=vote.reasons)


def difference(before: Said, now_said: Said) -> str | None:
    """Return how a second judgment contradicts the first, or None if it says the same.

    A file that does not give a strength or a margin contradicts none.
    """
    if before.answer != now_said.answer:
        return "differently before"
    for name, old, new in (
        ("strength", before.strength, now_said.strength),
        ("margin", before.margin, now_said.margin),
    ):
        if new is not None and old != new and not (name == "margin" and old is None):
            shown = "without a strength" if old is None else f"with {name} {old:g}"
            return f"{shown} before, not with {name} {new:g}"
    return None


def add(session: Session, project_id: int, judged: Iterable[JudgedSlots]) -> int:
    """Store judgments with their assignments; return how many."""
    places = [
        (comparison, slot_id, judgment)
        for comparison in judged
        for slot_id, judgment in zip(comparison.slot_ids, comparison.judgments, strict=True)
    ]
    assignment_ids = bulk.reserve_ids(session, Assignment, len(places))
    ids = bulk.reserve_ids(session, Judgment, len(places))
    moment = now(session)
    assignments, judgments = [], []
    for (comparison, slot_id, new), assignment_id, judgment_id in zip(
        places, assignment_ids, ids, strict=True
    ):
        vote = new.vote
        submitted = vote.submitted_at or moment
        started = vote.started_at or submitted
        shown_order = [new.places.index(at) for at in vote.shown_order]
        assignments.append(
            (
                *(assignment_id, project_id, comparison.comparison_id, slot_id, new.labeler_id),
                *(criteria.IMPORTED, _SUBMITTED, shown_order),
                *(started, submitted, submitted, "", ""),
            )
        )
        judgments.append(
            (
                *(judgment_id, project_id, assignment_id, comparison.comparison_id),
                *(new.labeler_id, 1, None, True, False, False, comparison.kind.value),
                *(*new.said.answer, new.said.strength, new.said.margin, list(new.said.reasons)),
                *(list(vote.flags), vote.comment, shown_order),
                # 0: judged under guidelines that are not a version of this project's.
                *(vote.guidelines_version or 0, UNKNOWN),
                *(_key(comparison.comparison_id), "", started, submitted, vote.active_ms or 0),
            )
        )
    bulk.insert(session, Assignment, _ASSIGNMENT, assignments)
    bulk.insert(session, Judgment, _JUDGMENT, judgments)
    return len(judgments)


def set_margins(session: Session, margins: Mapping[int, float]) -> None:
    """Complete judgments of earlier imports, which did not keep the margin of their file."""
    session.connection().execute(
        update(Judgment)
        .where(Judgment.id == bindparam("of_id"))
        .values(margin=bindparam("of_margin")),
        [{"of_id": of, "of_margin": margin} for of, margin in margins.items()],
    )


def _key(comparison_id: int) -> str:
    return hashlib.sha256(f"import:{comparison_id}".encode()).hexdigest()
