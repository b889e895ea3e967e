"""The states of rounds, jobs, slots and assignments, with tables of the allowed transitions."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from app.errors import Conflict


class JobState(StrEnum):
    """The state of a job; the row is the job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"  # killed its worker too often; a person must investigate


class RoundState(StrEnum):
    """The stage of a round in the loop."""

    PLANNED = "planned"
    SFT = "sft"
    GENERATING = "generating"
    LABELING = "labeling"
    REWARD = "reward"
    POLICY = "policy"
    EVALUATING = "evaluating"  # generating completions and judging them blind
    DECIDING = "deciding"
    GATED = "gated"  # a gate found that the round cannot work, and waits for a person
    PROMOTED = "promoted"
    HELD = "held"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SlotState(StrEnum):
    """The state of one of the K judgments that a comparison needs."""

    OPEN = "open"
    LEASED = "leased"
    DONE = "done"
    CLOSED = "closed"  # the overlap was lowered or the comparison withdrawn


class AssignmentState(StrEnum):
    """The state of a slot's lease to a labeler."""

    LEASED = "leased"
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    RELEASED = "released"
    SURPLUS = "surplus"  # submitted after the slot went to someone else; kept, not counted


_J, _R, _S, _A = JobState, RoundState, SlotState, AssignmentState

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    _J.QUEUED: frozenset({_J.RUNNING, _J.CANCELLED}),
    _J.RUNNING: frozenset({_J.QUEUED, _J.SUCCEEDED, _J.FAILED, _J.CANCELLED, _J.QUARANTINED}),
    _J.SUCCEEDED: frozenset(),
    _J.FAILED: frozenset({_J.QUEUED}),
    _J.CANCELLED: frozenset({_J.QUEUED}),
    _J.QUARANTINED: frozenset({_J.QUEUED}),
}

_STAGES = frozenset({_R.SFT, _R.GENERATING, _R.LABELING, _R.REWARD, _R.POLICY, _R.EVALUATING})
_STOPS = frozenset({_R.FAILED, _R.CANCELLED})
_ENDS = _STOPS | {_R.GATED}
ROUND_MOVES: Mapping[RoundState, frozenset[RoundState]] = {
    # A round that fits no reward model needs no candidates and no judgments of them.
    _R.PLANNED: frozenset({_R.SFT, _R.GENERATING, _R.LABELING, _R.POLICY}) | _STOPS,
    _R.SFT: frozenset({_R.GENERATING, _R.POLICY}) | _ENDS,
    _R.GENERATING: frozenset({_R.LABELING}) | _ENDS,
    _R.LABELING: frozenset({_R.REWARD}) | _ENDS,
    _R.REWARD: frozenset({_R.POLICY, _R.DECIDING}) | _ENDS,
    _R.POLICY: frozenset({_R.EVALUATING}) | _ENDS,
    _R.EVALUATING: frozenset({_R.DECIDING}) | _ENDS,
    # It goes on where it waits, or redoes a stage with another plan.
    _R.GATED: _STAGES | {_R.CANCELLED},
    _R.DECIDING: frozenset({_R.PROMOTED, _R.HELD, _R.CANCELLED}),
    _R.PROMOTED: frozenset(),
    _R.HELD: frozenset(),
    # A failed round resumes at the stage that failed once its job is retried.
    _R.FAILED: _STAGES | {_R.CANCELLED},
    _R.CANCELLED: frozenset(),
}

SLOT_MOVES: Mapping[SlotState, frozenset[SlotState]] = {
    _S.OPEN: frozenset({_S.LEASED, _S.CLOSED}),
    _S.LEASED: frozenset({_S.OPEN, _S.DONE, _S.CLOSED}),
    _S.DONE: frozenset({_S.OPEN, _S.LEASED}),  # a retraction reopens it, an undo leases it again
    _S.CLOSED: frozenset({_S.OPEN}),
}

ASSIGNMENT_MOVES: Mapping[AssignmentState, frozenset[AssignmentState]] = {
    _A.LEASED: frozenset({_A.SUBMITTED, _A.SKIPPED, _A.EXPIRED, _A.RELEASED, _A.SURPLUS}),
    _A.SUBMITTED: frozenset({_A.LEASED, _A.RELEASED}),  # undo, retraction
    _A.SKIPPED: frozenset({_A.LEASED, _A.RELEASED}),
    _A.EXPIRED: frozenset({_A.SUBMITTED, _A.SURPLUS}),  # submitted late: counts if the slot is free
    _A.RELEASED: frozenset({_A.SURPLUS}),
    _A.SURPLUS: frozenset({_A.SUBMITTED, _A.RELEASED}),
}

State = TypeVar("State", bound=StrEnum)
_DONE_ITSELF = frozenset({"succeeded", "failed", "expired"})
_DONE_TO_IT = frozenset(
    {"cancelled", "quarantined", "promoted", "held", "submitted", "skipped", "released", "closed"}
)


def move(moves: Mapping[State, frozenset[State]], thing: str, old: State, new: State) -> State:
    """Return `new` if the table allows the transition.

    Raises:
        Conflict: the transition is not in the table.
    """
    if new not in moves[old]:
        verb = "has" if old in _DONE_ITSELF else "is"
        change = "be" if new in _DONE_TO_IT else "become"
        raise Conflict(f"{thing} {verb} {old} and cannot {change} {new}")
    return new


LIVE_ROUND_STATES = frozenset(RoundState) - {_R.PROMOTED, _R.HELD, _R.CANCELLED}
OVER_JOB_STATES = frozenset({_J.SUCCEEDED, _J.FAILED, _J.CANCELLED, _J.QUARANTINED})
