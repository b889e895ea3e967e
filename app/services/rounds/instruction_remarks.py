"""Remarks on a round's instruction where it is not the one of its data or of its model.

A round trains with the current version. Nothing is refused: judgments that were made under another
version usually still say which response is better.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.instruction_text import UNKNOWN
from app.models import Comparison, Judgment, Project, Prompt, Purpose, Split
from app.services.checkpoints import checkpoints
from app.services.project import instructions
from app.services.quality.brief_cache import cached_briefly
from app.services.queue import counted_judgments


def remarks(session: Session, project: Project) -> tuple[str, ...]:
    """Return what a lead should know before a round trains with the current instruction."""
    found = (_of_judgments(session, project), _of_policy(session, project))
    return tuple(remark for remark in found if remark)


def of_versions(by_version: dict[int, int], texts: dict[int, str], version: int) -> str:
    """Return a remark on judgments under another text than that of a version; empty if none is.

    Args:
        by_version: the number of judgments under each version; 0 is what was imported.
        texts: of the versions.
        version: the one to train with.

    """
    text = texts.get(version, "")
    others = {key: count for key, count in by_version.items() if texts.get(key, "") != text}
    if not others:
        return ""
    total, under = sum(by_version.values()), sorted(key for key in others if key != UNKNOWN)
    parts = [f"{others[key]} under version {key}" for key in under]
    if UNKNOWN in others:
        parts.append(f"{others[UNKNOWN]} imported or under an unknown instruction")
    return (
        f"{sum(others.values())} of {total} judgments were made under another instruction "
        f"({', '.join(parts)}); training uses version {version}"
    )


def _of_judgments(session: Session, project: Project) -> str:
    texts = instructions.texts(session, project.id)
    if not any(texts.values()):
        return ""  # no version says anything, and what was imported was under none
    return of_versions(_by_version(session, project.id), texts, project.instruction_version)


@cached_briefly
def _by_version(session: Session, project_id: int) -> dict[int, int]:
    """Count the judgments that a reward model learns from under each version."""
    query = (
        select(Judgment.instruction_version, func.count())
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(
            Comparison.project_id == project_id,
            Comparison.purpose == Purpose.TRAIN,
            Prompt.split == Split.TRAIN,
            counted_judgments.counts(),
        )
        .group_by(Judgment.instruction_version)
    )
    return dict(session.execute(query).all())


def _of_policy(session: Session, project: Project) -> str:
    policy = checkpoints.current_policy(session, project)
    trained = None if policy is None else policy.config.get("instruction")
    if policy is None or trained is None or trained == project.instruction:
        return ""
    version = policy.config.get("instruction_version")
    return (
        f"{policy.name} was trained under version {version} of the instruction; the round uses "
        f"version {project.instruction_version}"
    )
