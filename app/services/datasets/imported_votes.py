"""Votes in imported files, stored as judgments of labelers who can never sign in.

A vote keeps the labeler's name from the file; votes without a name belong to one nameless labeler.
They are used for training and agreement like any other judgment, under a pseudonym of the project.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import OVERLAP_MOST
from app.domain.instruction_text import UNKNOWN
from app.domain.judgment_kinds import KINDS, JudgmentKind, OrderBody
from app.domain.ranking import Ranking
from app.domain.states import AssignmentState, SlotState
from app.formats.records import (
    ComparisonRecord,
    PreferenceRecord,
    Record,
    UnpairedRecord,
    VoteRecord,
)
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Judgment,
    Project,
    Role,
    Slot,
    User,
)
from app.services.judging import revisions
from app.services.people import accounts
from app.services.project import criteria
from app.services.queue import comparisons

DOMAIN = "imported.invalid"
NAMELESS = "Imported votes"
BEHIND_ROUNDS = -1
"""Priority of imported comparisons: a round waits for its own, nothing waits for these."""


@dataclass(frozen=True, slots=True)
class ImportedVote:
    """A vote in a file; `vote.ranking` is in the order of `completion_ids`."""

    line: int
    prompt_id: int
    completion_ids: tuple[int, ...]
    vote: VoteRecord | None  # None: a comparison without judgments
    kind: JudgmentKind
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """How many votes and comparisons are new, and which lines were rejected, with the reason."""

    new: int
    comparisons: int
    refused: tuple[tuple[int, str], ...]


def of_record(
    line: int, record: Record, prompt_id: int, completion_ids: tuple[int, ...]
) -> Iterator[ImportedVote]:
    """Yield the votes in a record."""
    if isinstance(record, PreferenceRecord):
        said = VoteRecord(record.labeler or "", record.ranking, record.strength)
        yield ImportedVote(line, prompt_id, completion_ids, said, _ordering(completion_ids))
    elif isinstance(record, UnpairedRecord):
        said = VoteRecord(record.labeler or "", None, thumb="up" if record.label else "down")
        yield ImportedVote(line, prompt_id, completion_ids, said, JudgmentKind.THUMBS)
    elif isinstance(record, ComparisonRecord):
        kind = JudgmentKind(record.kind) if record.kind else _ordering(completion_ids)
        for vote in record.votes or (None,):
            yield ImportedVote(line, prompt_id, completion_ids, vote, kind, record.weights)


def store(session: Session, project: Project, votes: Sequence[ImportedVote]) -> Stored:
    """Store votes; a repeated vote changes nothing, a contradicting one is rejected."""
    vote_counts = Counter(_key(imported) for imported in votes)
    _note_criteria(session, project, votes)
    known: dict[str, Comparison] = {}
    labelers: dict[str, int] = {}
    new = made = 0
    refused: list[tuple[int, str]] = []
    for imported in votes:
        key = _key(imported)
        if key not in known:
            existing = comparison_of(session, project.id, key)
            made += existing is None
            known[key] = existing or _create(session, project, imported, key, vote_counts[key])
        if imported.vote is None:
            continue
        labeler = imported.vote.labeler
        if labeler not in labelers:
            labelers[labeler] = labeler_id(session, project, labeler)
        outcome = _cast(session, known[key], imported, imported.vote, labelers[labeler])
        if outcome is None:
            new += 1
        elif outcome:
            refused.append((imported.line, outcome))
    session.flush()
    return Stored(new, made, tuple(refused))


def labeler_id(session: Session, project: Project, name: str) -> int:
    """Return the account that represents a labeler of a file; it can never sign in."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    email = f"import-{project.id}-{digest}@{DOMAIN}"
    known_id = session.scalar(select(User.id).where(User.email == email))
    if known_id is not None:
        return known_id
    # An e-mail address is personal data: the account is known by its hash, and the address dropped.
    shown = f"Imported {digest[:6] if '@' in name else name[:60]}" if name else NAMELESS
    user = accounts.create_user(session, email=email, name=shown, password=None)
    user.is_active = False
    member = accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    member.is_paused = True  # the queue must not wait for somebody who cannot sign in
    session.flush()
    return user.id


def is_imported(user: User) -> bool:
    """Return whether an account represents a labeler of a file."""
    return user.email.endswith(f"@{DOMAIN}")


def natural_key(kind: JudgmentKind, prompt_id: int, completion_ids: Sequence[int]) -> str:
    """Return the natural key of the comparison of these completions, in any order."""
    listed = ",".join(map(str, sorted(completion_ids)))
    return f"import-{kind}-{prompt_id}-{hashlib.sha256(listed.encode()).hexdigest()[:32]}"


def comparison_of(session: Session, project_id: int, key: str) -> Comparison | None:
    """Return the comparison with a natural key, if there is one."""
    return session.scalar(
        select(Comparison).where(Comparison.project_id == project_id, Comparison.natural_key == key)
    )


def _key(imported: ImportedVote) -> str:
    return natural_key(imported.kind, imported.prompt_id, imported.completion_ids)


def _ordering(completion_ids: Sequence[int]) -> JudgmentKind:
    return JudgmentKind.PICK if len(completion_ids) == 2 else JudgmentKind.RANK


def _note_criteria(session: Session, project: Project, votes: Iterable[ImportedVote]) -> None:
    """Add the criteria that votes name, with their weights; a lead may activate them."""
    rated: dict[str, float] = {}
    for imported in votes:
        names = imported.vote.ratings if imported.vote and imported.vote.ratings else {}
        rated |= {name: imported.weights.get(name, 1.0) for name in names}
    if rated:
        criteria.note(session, project, rated)


def _create(
    session: Session, project: Project, imported: ImportedVote, key: str, votes: int
) -> Comparison:
    return comparisons.create(
        session,
        project,
        imported.prompt_id,
        imported.completion_ids,
        kind=imported.kind,
        natural_key=key,
        seed=project.split_seed,
        priority=BEHIND_ROUNDS,
        overlap=None if imported.vote is None else min(votes, OVERLAP_MOST),
    )


def _cast(
    session: Session, comparison: Comparison, imported: ImportedVote, vote: VoteRecord, labeler: int
) -> str | None:
    """Store a vote; return None if it is new, "" if it is repeated, else why it is rejected."""
    order = _order(session, comparison.id)
    place = [imported.completion_ids.index(completion_id) for completion_id in order]
    said = _said(imported.kind, vote, place)
    before = session.scalar(
        select(Judgment).where(
            Judgment.comparison_id == comparison.id,
            Judgment.labeler_id == labeler,
            Judgment.is_current,
        )
    )
    if before is not None:
        if all(getattr(before, name) == said[name] for name in _ANSWER):
            return ""
        who = f"labeler {vote.labeler}" if vote.labeler else "a labeler without a name"
        return f"{who} has judged these completions differently before"
    _append(session, comparison, vote, labeler, said, place)
    return None


_ANSWER = ("preferred", "ranking", "ratings", "thumb", "text")


def _said(kind: JudgmentKind, vote: VoteRecord, place: Sequence[int]) -> dict[str, Any]:
    """Return a vote's columns of a judgment, in the canonical order of the comparison."""
    said: dict[str, Any] = dict.fromkeys(_ANSWER) | {"strength": None, "reasons": []}
    body = KINDS[kind].body
    if issubclass(body, OrderBody):
        ranking = vote.ranking and Ranking(tuple(vote.ranking.ranks[at] for at in place))
        order = body.of_ranking(ranking, both_bad=vote.both_bad or ranking is None)
        strength = None if vote.strength is None else int(vote.strength)
        return said | order.to_json() | {"strength": strength}
    if vote.ratings is not None:
        said["ratings"] = {name: [of[at] for at in place] for name, of in vote.ratings.items()}
    return said | {"thumb": vote.thumb, "reasons": list(vote.reasons), "text": vote.text}


def _append(
    session: Session,
    comparison: Comparison,
    vote: VoteRecord,
    labeler: int,
    said: Mapping[str, Any],
    place: Sequence[int],
) -> None:
    submitted = vote.submitted_at or now(session)
    comparison = comparisons.lock(session, comparison.id)
    assignment = Assignment(
        project_id=comparison.project_id,
        comparison_id=comparison.id,
        slot_id=_slot(session, comparison),
        labeler_id=labeler,
        lease_token="import",
        state=AssignmentState.SUBMITTED,
        shown_order=[place.index(at) for at in vote.shown_order],
        leased_at=vote.started_at or submitted,
        expires_at=submitted,
        ended_at=submitted,
    )
    session.add(assignment)
    session.flush()
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        hashlib.sha256(f"import:{comparison.id}".encode()).hexdigest(),
        submitted,
        flags=list(vote.flags),
        comment=vote.comment,
        body_hash="",
        started_at=vote.started_at or submitted,
        active_ms=vote.active_ms or 0,
        instruction_version=UNKNOWN,
        **said,
    )
    # 0: judged under guidelines that are not a version of this project's.
    judgment.guidelines_version = vote.guidelines_version or 0


def _slot(session: Session, comparison: Comparison) -> int:
    """Take a slot of the comparison, adding one if all are taken."""
    slot_id = comparisons.take_slot(session, comparison, SlotState.DONE)
    if slot_id is not None:
        return slot_id
    last = session.scalar(select(func.max(Slot.n)).where(Slot.comparison_id == comparison.id))
    slot = Slot(
        comparison_id=comparison.id, n=0 if last is None else last + 1, state=SlotState.CLOSED
    )
    session.add(slot)
    comparison.overlap += 1
    session.flush()
    comparisons.move_slot(session, comparison, slot.id, SlotState.CLOSED, SlotState.OPEN)
    session.flush()
    taken = comparisons.take_slot(session, comparison, SlotState.DONE)
    assert taken is not None  # it was opened a moment ago, under the comparison's lock
    return taken


def _order(session: Session, comparison_id: int) -> list[int]:
    query = select(ComparisonCompletion.completion_id).where(
        ComparisonCompletion.comparison_id == comparison_id
    )
    return list(session.scalars(query.order_by(ComparisonCompletion.position)))
