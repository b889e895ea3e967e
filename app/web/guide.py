"""The guide at a labeler's first comparison in a project: three steps, and the keys for them.

The page comes with it until the first judgment or until it is dismissed.
"""

from dataclasses import dataclass

from app.domain.judgment_kinds import JudgmentKind
from app.web.judgment_kinds import PAGE_KINDS


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in the page, what to do, and the keys that do it.

    What `by_keys` says comes before the keys and is for those who have a mouse and keys.
    """

    name: str
    says: str
    keys: tuple[str, ...] = ()
    by_keys: str = ""


_READ = Step("read", "Read the prompt and the responses. If in doubt, open the guidelines.", ("h",))
_SUBMIT = Step("submit", "Submit. If you change your mind, undo.", ("Enter", "u"))
_LEARN = Step("submit", "Submit. You see the right answer and the reason at once.", ("Enter",))


def steps(kind: JudgmentKind, *, is_practice: bool) -> tuple[Step, ...]:
    """Return the steps of a first comparison."""
    row = PAGE_KINDS[kind]
    judge = Step("judge", row.task, row.task_keys, row.task_by_keys)
    return (_READ, judge, _LEARN if is_practice else _SUBMIT)
