"""The queue as a plain model: what a claim must give, and what becomes of every answer."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.domain.assignment import AHEAD, LEASE_BEFORE_ANY_JUDGMENT
from app.domain.states import AssignmentState

LEASED = AssignmentState.LEASED
SUBMITTED = AssignmentState.SUBMITTED
SKIPPED = AssignmentState.SKIPPED
EXPIRED = AssignmentState.EXPIRED
RELEASED = AssignmentState.RELEASED
SURPLUS = AssignmentState.SURPLUS
GONE = {EXPIRED, RELEASED}


@dataclass
class Question:
    """A comparison: how many judgments it wants, and whether it is still asked."""

    id: int
    overlap: int
    priority: int = 0
    is_withdrawn: bool = False


@dataclass
class Lease:
    """An assignment with what its labeler has said."""

    id: int
    labeler: int
    question: Question
    token: str
    leased_at: datetime
    expires_at: datetime
    state: AssignmentState = LEASED
    ended_at: datetime | None = None
    answer: str | None = None  # in force; None: nothing said, or taken back
    judgment_id: int | None = None
    said: int = 0  # revisions

    @property
    def counts_as_judged(self) -> bool:
        """Whether the labeler may not be given the comparison again."""
        return self.state not in GONE or (self.state is RELEASED and self.ended_at is not None)


@dataclass
class Model:
    """All questions and leases of one project."""

    questions: dict[int, Question] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)
    is_paused: bool = False

    def of(self, question: Question, *states: AssignmentState) -> list[Lease]:
        """Return the leases of a question in one of the states."""
        return [
            one for one in self.leases.values() if one.question is question and one.state in states
        ]

    def free(self, question: Question) -> int:
        """Count the judgments that somebody could take now."""
        if question.is_withdrawn:
            return 0
        return question.overlap - len(self.of(question, LEASED, SUBMITTED))

    def may_take(self, labeler: int, question: Question) -> bool:
        """Whether the labeler neither has nor had the question."""
        return not any(
            one.labeler == labeler and one.question is question and one.counts_as_judged
            for one in self.leases.values()
        )

    def mine(self, labeler: int) -> list[Lease]:
        """Return the leases that a labeler holds, the oldest first."""
        held = [
            one for one in self.leases.values() if one.labeler == labeler and one.state is LEASED
        ]
        return sorted(held, key=lambda one: (one.leased_at, one.id))

    def expire(self, moment: datetime) -> None:
        """Give back what ran out."""
        for one in self.leases.values():
            if one.state is LEASED and one.expires_at < moment:
                one.state = EXPIRED

    def next_for(self, labeler: int) -> Question | None:
        """Priority first, then nearest to complete, then oldest."""
        open_ = [
            one
            for one in self.questions.values()
            if self.free(one) > 0 and self.may_take(labeler, one)
        ]
        return min(
            open_,
            key=lambda one: (-one.priority, -len(self.of(one, SUBMITTED)), one.id),
            default=None,
        )

    def claim(self, labeler: int, held: set[int], moment: datetime) -> Lease | Question | None:
        """Return the lease a claim must show again, the question it must lease, or None."""
        mine = self.mine(labeler)
        for one in mine:
            if one.id not in held:
                one.expires_at = moment + LEASE_BEFORE_ANY_JUDGMENT
                return one
        if self.is_paused or labeler in self.paused or len(mine) > AHEAD:
            return None
        self.expire(moment)
        return self.next_for(labeler)

    def speaks_for(self, lease: Lease) -> Lease:
        """Return the later lease of the same person and question, if this one is gone."""
        if lease.state not in GONE:
            return lease
        later = [
            one
            for one in self.leases.values()
            if one.labeler == lease.labeler
            and one.question is lease.question
            and one.state not in GONE
        ]
        return later[0] if later else lease

    def settle(self, lease: Lease) -> AssignmentState | None:
        """Return what a submission makes of a lease; None: it is refused."""
        if lease.state is LEASED:
            return SUBMITTED
        if lease.state is EXPIRED and self.free(lease.question) > 0:
            return SUBMITTED
        return SURPLUS if lease.state in GONE else None

    def lower_or_raise(self, overlap: int) -> int:
        """Change K where judgments are still wanted; return how many changed."""
        changed = 0
        for one in self.questions.values():
            if one.is_withdrawn or len(self.of(one, SUBMITTED)) >= one.overlap:
                continue
            before = one.overlap
            one.overlap = max(overlap, before - self.free(one)) if overlap < before else overlap
            changed += one.overlap != before
        return changed

    def counts(self, labeler: int) -> Counter[AssignmentState]:
        """Count a labeler's leases by state, those of withdrawn questions left out."""
        return Counter(
            one.state
            for one in self.leases.values()
            if one.labeler == labeler and not one.question.is_withdrawn
        )

    def with_others(self, labeler: int) -> tuple[int, datetime | None]:
        """Count questions whose every open judgment others hold; when the first lease ends."""
        waiting = [
            one
            for one in self.leases.values()
            if one.state is LEASED
            and one.labeler != labeler
            and not one.question.is_withdrawn
            and self.free(one.question) == 0
            and self.may_take(labeler, one.question)
        ]
        first = min((one.expires_at for one in waiting), default=None)
        return len({one.question.id for one in waiting}), first


def minutes(number: int) -> timedelta:
    """Return a span of minutes."""
    return timedelta(minutes=number)
