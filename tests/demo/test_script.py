"""What the demo does at a check of its round: it goes on, and its report says so."""

from types import SimpleNamespace
from typing import Any

from app.demo import measured_round, script


def gate(key: str, outcome: str, reason: str) -> dict[str, Any]:
    return {
        "gate": key,
        "title": key.capitalize(),
        "outcome": outcome,
        "reason": reason,
        "measured": "54 %",
    }


class Posted:
    """A project that a round is watched in: first it waits, then it can be decided."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []

    def round(self, number: int) -> dict[str, Any]:
        state = "deciding" if self.sent else "gated"
        passed = gate("preflight", "passed", "")
        waits = gate("reward", "overridden" if self.sent else "waiting", "It is not above chance.")
        return {"number": number, "state": state, "jobs": [], "gates": [passed, waits]}

    def post(self, path: str, body: object) -> None:
        self.sent.append((path, body))


def test_the_demo_overrides_a_check_and_names_it() -> None:
    project = Posted()
    setup: Any = SimpleNamespace(project=project, is_alive=lambda: True)
    display: Any = SimpleNamespace(stage=lambda name: None, progress=lambda *amount: None)
    clock: Any = SimpleNamespace(add=lambda *spent: None)
    round_ = script._follow(setup, 1, display, clock)
    assert round_["state"] == "deciding"
    ((path, body),) = project.sent
    assert path == "/rounds/1/gates/reward/override"
    assert body == {"note": "The demo goes on to show the other stages."}
    assert measured_round.failed_checks(round_) == ("Reward: 54 %",)
