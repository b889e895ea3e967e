"""How many prompts labelers could still be asked about, remembered until a row is added.

Counting compares all completions with all comparisons, which takes a while in a large project.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Comparison, Completion, Demonstration, Project
from app.services.datasets import comparison_requests
from app.services.quality.result_memory import ResultMemory, is_writing, key_of

Newest = tuple[int | None, ...]  # ids

_memory: ResultMemory[Newest] = ResultMemory()


def count(session: Session, project: Project) -> int:
    """Count the prompts for which a comparison could be made now."""
    if is_writing(session):
        return comparison_requests.waiting(session, project)
    key = key_of(session, "waiting_prompts", project.id, f"{project.judgment_kind} {project.goal}")
    newest = _newest(session)
    entry = _memory.get(key)
    if entry is not None and entry[0] == newest:
        return int(entry[1])
    result = comparison_requests.waiting(session, project)
    _memory.put(key, newest, result)
    return result


def _newest(session: Session) -> Newest:
    models = (Completion, Comparison, Demonstration)
    ids = [select(func.max(model.id)).scalar_subquery() for model in models]
    return tuple(session.execute(select(*ids)).one())
