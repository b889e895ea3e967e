"""The guide at somebody's first comparison in a project: three steps, and the keys for them.

It is shown until the first answer or until it is sent away, and never again.
"""

from dataclasses import dataclass

from app.models import JudgmentKind


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in the page, what to do, and the keys that do it."""

    name: str
    says: str
    keys: tuple[str, ...] = ()


_READ = Step("read", "Read the prompt and the answers. The guidelines are one key away.", ("h",))
_JUDGE = {
    JudgmentKind.PICK: Step("judge", "Choose the better answer: click it or press", ("1", "2")),
    JudgmentKind.RANK: Step(
        "judge", "Put the best first: move them, or press their numbers in order.", ("1", "2", "3")
    ),
    JudgmentKind.RATE: Step("judge", "Rate each answer: click, or press a number.", ("1", "5")),
    JudgmentKind.THUMBS: Step("judge", "Say whether the answer is good or bad.", ("1", "2")),
    JudgmentKind.WRITE: Step("judge", "Write the best answer you can.", ("e",)),
    JudgmentKind.EDIT: Step("judge", "Change the text until it is the answer you want.", ("e",)),
}
_SUBMIT = Step("submit", "Submit. If you change your mind, undo.", ("Enter", "u"))
_LEARN = Step("submit", "Submit. The right answer and the reason come at once.", ("Enter",))


def steps(kind: JudgmentKind, *, is_practice: bool) -> tuple[Step, ...]:
    """Return the steps of a first comparison."""
    return (_READ, _JUDGE[kind], _LEARN if is_practice else _SUBMIT)
