"""Form fields for what becomes of a round whose checks between stages fail."""

from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from app.domain.gate_policies import CHECKS, Gate, GatePolicies, GatePolicy
from app.domain.gates import table
from app.domain.plan import RoundPlan

POLICIES = (
    (str(GatePolicy.WAIT), "wait for a decision"),
    (str(GatePolicy.WARN), "continue, with a warning"),
    (str(GatePolicy.IGNORE), "continue, and only record it"),
)


class GateFields(BaseModel):
    """A policy for each check."""

    gate_labelers: GatePolicy = GatePolicy.WAIT
    gate_endings: GatePolicy = GatePolicy.WAIT
    gate_preflight: GatePolicy = GatePolicy.WAIT
    gate_left_out: GatePolicy = GatePolicy.WAIT
    gate_reward: GatePolicy = GatePolicy.WAIT
    gate_policy: GatePolicy = GatePolicy.WAIT
    gate_evaluation: GatePolicy = GatePolicy.WAIT

    @property
    def has_other_gates(self) -> bool:
        """Whether the round would go on at any check that fails."""
        return any(self.policy_of(gate) is not GatePolicy.WAIT for gate in CHECKS)

    def policy_of(self, gate: Gate) -> GatePolicy:
        """Return the policy of a check."""
        return GatePolicy(getattr(self, field_of(gate)))

    def with_gates(self, plan: RoundPlan) -> RoundPlan:
        """Return the plan with the policies of the form."""
        policies = {gate.value: self.policy_of(gate) for gate in CHECKS}
        return replace(plan, gates=GatePolicies(**policies))


@dataclass(frozen=True, slots=True)
class GateChoice:
    """A check in the form: its field, its title, what it checks, and the policy chosen."""

    field: str
    title: str
    help: str
    value: str
    options: tuple[tuple[str, str], ...] = POLICIES


def choices(fields: GateFields) -> list[GateChoice]:
    """Return the checks as the form shows them."""
    return [
        GateChoice(
            field_of(gate), table.TITLES[gate], table.CHECKED[gate], str(fields.policy_of(gate))
        )
        for gate in CHECKS
    ]


def of(plan: RoundPlan) -> dict[str, Any]:
    """Return the values of `GateFields` for a plan."""
    return {field_of(gate): plan.gates.of(gate) for gate in CHECKS}


def field_of(gate: Gate) -> str:
    """Return the name of a check's field."""
    return f"gate_{gate.value}"
