"""What people wrote, as it is now and as it was."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import EditBody, JudgmentKind, WriteBody
from app.models import Project, Prompt, Split
from app.services.datasets import demonstrations
from app.services.judging import corrections, labeling, submissions
from app.services.project import prompts
from app.services.queue import comparisons, slot_leases
from tests.services import sample


@pytest.fixture
def clock() -> sample.Clock:
    return sample.Clock()


@pytest.fixture
def work(any_url: str, clock: sample.Clock) -> Iterator[Session]:
    database = Database(any_url, clock=clock)
    with database.transaction() as session:
        yield session
    database.dispose()


def shown(work: Session, project: Project, **options: object) -> list[str]:
    found = demonstrations.every(work, project.id, Split.TRAIN, **options)  # type: ignore[arg-type]
    return [one.text for one in found]


def write(work: Session, project: Project, labeler: int, text: str) -> submissions.Outcome:
    assignment = slot_leases.claim(work, sample.SECRET, project, labeler, draw=sample.never_mix())
    assert assignment is not None
    body = WriteBody(text) if project.judgment_kind == JudgmentKind.WRITE else EditBody(text)
    return labeling.submit(work, project, labeler, sample.submission(assignment, body))


def test_an_undo_a_change_and_a_retraction_hold_here_and_the_past_stays_what_it_was(
    work: Session, clock: sample.Clock
) -> None:
    project = sample.make_project(work, judgment_kind=JudgmentKind.WRITE, k=0, overlap=1)
    (labeler,) = sample.make_labelers(work, project, 1)
    sample.make_comparison(work, project)
    first = write(work, project, labeler, "One.")
    then = clock.at
    assert shown(work, project) == ["One."]
    clock.forward(minutes=1)
    edit = submissions.Submission(first.assignment_id, "", "edit-key", WriteBody("Two."))
    changed = corrections.revise(work, project, labeler, first.judgment_id, edit)
    assert shown(work, project) == ["Two."]
    assert demonstrations.exist(work, project.id)
    clock.forward(minutes=1)
    corrections.retract(work, project, labeler, changed.judgment_id, "retract-key")
    assert (shown(work, project), demonstrations.count(work, project.id)) == ([], 0)
    assert not demonstrations.exist(work, project.id)
    assert shown(work, project, as_of=then) == ["One."]


def test_the_same_text_counts_once_and_those_of_files_come_first(work: Session) -> None:
    project = sample.make_project(work, judgment_kind=JudgmentKind.EDIT, k=1)
    people = sample.make_labelers(work, project, 3)
    comparison = sample.make_comparison(work, project)
    prompt = work.get_one(Prompt, comparison.prompt_id)
    prompts.add_demonstrations(work, [(prompt, "Of the file.")])
    for labeler, text in zip(people, ["Better.", "Better.", "Of the file."], strict=True):
        write(work, project, labeler, text)
    assert shown(work, project) == ["Of the file.", "Better."]
    assert demonstrations.count(work, project.id, Split.TRAIN) == 2
    assert demonstrations.count(work, project.id, Split.TEST) == 0
    assert demonstrations.exist(work, project.id, Split.TRAIN)
    assert not demonstrations.exist(work, project.id, Split.TEST)
    comparisons.withdraw(work, comparison.id)
    assert shown(work, project) == ["Of the file."]
