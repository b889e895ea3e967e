"""Evaluation sets: files whose prompts are declared to be tested on and never trained on.

Their prompts belong to the test split whatever their hash says, together with the prompts that
begin alike. Prompts that are there already are moved, unless something was trained on them; what a
model has learned cannot be taken back, so their lines are rejected with the reason.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from app.db import bulk
from app.domain.judgment_kinds import WRITTEN_KINDS
from app.models import (
    Comparison,
    Demonstration,
    Export,
    ExportedJudgments,
    Job,
    Judgment,
    Project,
    Prompt,
    Split,
)
from app.services.datasets import export_rows
from app.services.project.prompts import NewPrompt


@dataclass(frozen=True, slots=True)
class Declared:
    """The outcome for some prompts: the reason for each that was refused, and how many moved."""

    refused: Mapping[int, str]  # by position
    moved: int


@dataclass(frozen=True, slots=True)
class _Known:
    """A prompt of the project that begins like one of the evaluation set."""

    id: int
    content_hash: str
    group_hash: str
    split: Split


def declare(session: Session, project: Project, given: Sequence[NewPrompt]) -> Declared:
    """Move the known prompts of an evaluation set to the test split, unless they were trained on.

    Prompts that begin alike move together. Storing the new ones is left to `prompts.store`.
    """
    hashes = [new.content_hash for new in given]
    groups = [new.group_hash for new in given]
    known: dict[str, list[_Known]] = defaultdict(list)
    for prompt in _known(session, project.id, groups):
        known[prompt.group_hash].append(prompt)
    if not known:
        return Declared({}, 0)
    trained = _trained_on(
        session,
        project.id,
        [p.id for group in known.values() for p in group if p.split is not Split.TEST],
    )
    refused = {
        at: reason
        for at, (digest, group) in enumerate(zip(hashes, groups, strict=True))
        if (reason := _objection(digest, known.get(group, ()), trained))
    }
    accepted = [at for at in range(len(given)) if at not in refused]
    relatives = [p for group in {groups[at] for at in accepted} for p in known.get(group, ())]
    moving = [p.id for p in relatives if p.split is not Split.TEST]
    _set(session, moving, split=Split.TEST)
    own = {hashes[at] for at in accepted}
    _set(session, [p.id for p in relatives if p.content_hash in own], is_evaluation=True)
    return Declared(refused, len(moving))


def _set(session: Session, prompt_ids: Collection[int], **values: Any) -> None:
    if prompt_ids:
        one_of = bulk.among(session, Prompt.id, prompt_ids)
        session.execute(update(Prompt).where(one_of).values(**values))


def _known(session: Session, project_id: int, group_hashes: Collection[str]) -> list[_Known]:
    query = select(Prompt.id, Prompt.content_hash, Prompt.group_hash, Prompt.split).where(
        Prompt.project_id == project_id, bulk.among(session, Prompt.group_hash, group_hashes)
    )
    return sorted(
        (
            _Known(id, digest, group, Split(split))
            for id, digest, group, split in session.execute(query)
        ),
        key=lambda prompt: prompt.id,
    )


def _objection(digest: str, group: Collection[_Known], trained: Mapping[int, str]) -> str:
    """Return why a prompt cannot be evaluated on, or an empty text."""
    for prompt in group:
        if prompt.id in trained:
            is_same = prompt.content_hash == digest
            which = "the prompt is" if is_same else "the conversation begins like"
            return (
                f"{which} prompt {prompt.id} of the {prompt.split} split, and "
                f"{trained[prompt.id]}; it cannot be evaluated on"
            )
    return ""


def _trained_on(session: Session, project_id: int, prompt_ids: Collection[int]) -> dict[int, str]:
    """Return for each prompt that something was trained on, or exported for training, what it was.

    A job that has started counts as training: what it has read is not recorded row by row.
    """
    if not prompt_ids:
        return {}
    job = select(Job.id).where(
        Job.project_id == project_id, Job.attempts > 0, Prompt.split == Split.TRAIN
    )
    policy = job.where(Job.kind == "policy", Job.created_at >= Prompt.created_at)
    sft = job.where(Job.kind == "sft")
    shown = exists().where(
        Demonstration.prompt_id == Prompt.id, Demonstration.created_at <= Job.created_at
    )
    written = exists().where(
        Comparison.prompt_id == Prompt.id,
        Judgment.comparison_id == Comparison.id,
        Judgment.kind.in_(WRITTEN_KINDS),
        Judgment.submitted_at <= Job.created_at,
    )
    exported = (
        select(Export.number)
        .join(ExportedJudgments, ExportedJudgments.export_id == Export.id)
        .join(Judgment, ExportedJudgments.include(Judgment.id))
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(Comparison.prompt_id == Prompt.id, Export.format != export_rows.RICH)
    )
    reasons = (
        (policy, "job {} trained a policy on the prompts of that split"),
        (
            sft.where(shown.correlate(Prompt, Job) | written.correlate(Prompt, Job)),
            "job {} trained the SFT model on its demonstrations",
        ),
        (exported, "its judgments are in export {}, a data set for training"),
    )
    found: dict[int, str] = {}
    for evidence, reason in reasons:
        first = evidence.correlate(Prompt).limit(1).scalar_subquery()
        one_of = bulk.among(session, Prompt.id, prompt_ids)
        query = select(Prompt.id, first).where(one_of, first.is_not(None))
        found |= {prompt_id: reason.format(number) for prompt_id, number in session.execute(query)}
    return found
