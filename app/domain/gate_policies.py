"""The gates of a round: their keys, what a plan says of each, and what can become of one.

What a gate measures, and when it fires, is left to `app.domain.gates`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Gate(StrEnum):
    """A check between two stages of a round."""

    LABELERS = "labelers"
    ENDINGS = "endings"
    PREFLIGHT = "preflight"
    LEFT_OUT = "left_out"
    REWARD = "reward"
    POLICY = "policy"
    EVALUATION = "evaluation"
    FAILURE = "failure"  # no check, but a stage that failed and was tried again with another plan


class GatePolicy(StrEnum):
    """What happens if a gate fires."""

    WAIT = "wait"
    WARN = "warn"
    IGNORE = "ignore"


class GateOutcome(StrEnum):
    """What became of a gate in a round."""

    PASSED = "passed"
    IGNORED = "ignored"  # it fired, and the plan says that it does not matter
    WARNED = "warned"
    WAITING = "waiting"
    CLEARED = "cleared"  # it fired, and what it measures has changed since
    OVERRIDDEN = "overridden"
    REMEDIED = "remedied"
    MOOT = "moot"  # the stage is redone because of another gate


RAISED = frozenset({GateOutcome.IGNORED, GateOutcome.WARNED, GateOutcome.OVERRIDDEN})
"""Outcomes after which a round went on although the gate fired."""


@dataclass(frozen=True, slots=True)
class GatePolicies:
    """What a plan says of each gate."""

    labelers: GatePolicy = GatePolicy.WAIT
    endings: GatePolicy = GatePolicy.WAIT
    preflight: GatePolicy = GatePolicy.WAIT
    left_out: GatePolicy = GatePolicy.WAIT
    reward: GatePolicy = GatePolicy.WAIT
    policy: GatePolicy = GatePolicy.WAIT
    evaluation: GatePolicy = GatePolicy.WAIT

    @classmethod
    def all(cls, policy: GatePolicy) -> "GatePolicies":
        """Return the same policy for every gate."""
        return cls(*[policy] * len(CHECKS))

    def of(self, gate: Gate) -> GatePolicy:
        """Return the policy of a gate."""
        policy = getattr(self, gate.value)
        assert isinstance(policy, GatePolicy)
        return policy


CHECKS: tuple[Gate, ...] = tuple(gate for gate in Gate if gate is not Gate.FAILURE)
