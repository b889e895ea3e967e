"""A gate's verdict and its remedies, which change a round's plan and may redo a stage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.domain.gate_policies import Gate
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.errors import Invalid, NotFound

Setting = int | float | bool | str | None | dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanRemedy:
    """A change to the plan that may help.

    Attributes:
        key: by which it is chosen, such as "longer".
        label: of its button, in the imperative.
        effect: what it is expected to bring, as a sentence.
        changes: settings of the plan by path, such as "sampling.max_new_tokens".
        redo: the stage from which the round goes on; None: the one in which it waits.
    """

    key: str
    label: str
    effect: str
    changes: Mapping[str, Setting]
    redo: RoundState | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says.

    Attributes:
        gate: which one.
        fires: whether the round cannot work as it is.
        figure: what was measured, such as "63 of 330 prompts (19 %)".
        needed: what would pass, such as "at least 70 %".
        reason: a sentence on what is wrong; empty if it does not fire.
        remedies: the most promising first.
        can_wait: whether it is of use to wait.
    """

    gate: Gate
    fires: bool
    figure: str
    needed: str
    reason: str = ""
    remedies: tuple[PlanRemedy, ...] = ()
    can_wait: bool = True

    def remedy(self, key: str) -> PlanRemedy:
        """Return the remedy with a key.

        Raises:
            NotFound: the gate has no such remedy; the message lists those it has.
        """
        return chosen(self.remedies, key, f"gate {self.gate}")


class Figures(Protocol):
    """What a gate measured."""

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Return what the gate says under a plan."""


def chosen(remedies: tuple[PlanRemedy, ...], key: str, what: str) -> PlanRemedy:
    """Return the remedy with a key.

    Raises:
        NotFound: there is none; the message lists those there are.
    """
    for remedy in remedies:
        if remedy.key == key:
            return remedy
    known = ", ".join(remedy.key for remedy in remedies) or "none"
    raise NotFound(f"{what} has no remedy {key!r}; its remedies are: {known}")


def changed(plan: RoundPlan, changes: Mapping[str, Setting]) -> RoundPlan:
    """Return the plan with other settings, by path.

    Raises:
        Invalid: a path names no setting, or a value breaks a rule.
    """
    values = plan.to_json()
    for path, value in changes.items():
        *groups, name = path.split(".")
        group = values
        for key in groups:
            group = group[key]
        group[name] = value
    return RoundPlan.from_json(values)


def working(plan: RoundPlan, remedies: Iterable[PlanRemedy]) -> tuple[PlanRemedy, ...]:
    """Return the remedies that change a plan, to one that breaks no rule."""
    return tuple(remedy for remedy in remedies if _works(plan, remedy))


def _works(plan: RoundPlan, remedy: PlanRemedy) -> bool:
    try:
        return changed(plan, remedy.changes) != plan
    except Invalid:
        return False


def share(part: float, whole: float) -> str:
    """Return a share in percent, such as "19 %", or "0.2 %" below one; "0 %" of nothing."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f} %" if 0.0 < percent < 1.0 else f"{percent:.0f} %"


def several(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 prompt" or "1,200 prompts"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
