"""Labelers see what follows the reasoning of a response; it is stored whole."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import EditBody, JudgmentKind
from app.errors import Invalid
from app.models import Completion
from app.services.judging import labeler_history, labeling, sheets
from app.services.queue import slot_leases
from tests.services import sample


@pytest.fixture
def work(any_url: str) -> Iterator[Session]:
    database = Database(any_url)
    with database.transaction() as session:
        yield session
    database.dispose()


@pytest.mark.parametrize(("mark", "shown"), [("</think>", "Four."), ("", "two</think>\n\nFour.")])
def test_a_labeler_sees_the_response_now_and_in_the_history(
    work: Session, mark: str, shown: str
) -> None:
    project = sample.make_project(work)
    project.chat = {"thought_end": mark}
    (labeler,) = sample.make_labelers(work, project, 1)
    sample.make_comparison(work, project)
    for completion in work.scalars(select(Completion)):
        completion.text = "two</think>\n\nFour."
    work.flush()
    assignment = slot_leases.claim(work, sample.SECRET, project, labeler, draw=sample.never_mix())
    assert assignment is not None
    sheet = sheets.of_assignment(work, assignment)
    assert {candidate.text for candidate in sheet.candidates} == {shown}
    labeling.submit(work, project, labeler, sample.submission(assignment))
    (item,) = labeler_history.page(work, project.id, labeler)
    assert {candidate.text for candidate in item.candidates} == {shown}
    assert set(work.scalars(select(Completion.text))) == {"two</think>\n\nFour."}


def test_an_edit_is_compared_with_the_response_that_was_shown(work: Session) -> None:
    project = sample.make_project(work, judgment_kind=JudgmentKind.EDIT, k=1)
    project.chat = {"thought_end": "</think>"}
    (labeler,) = sample.make_labelers(work, project, 1)
    sample.make_comparison(work, project, kind=JudgmentKind.EDIT)
    work.scalars(select(Completion)).one().text = "two</think>\n\nFour."
    work.flush()
    assignment = slot_leases.claim(work, sample.SECRET, project, labeler, draw=sample.never_mix())
    assert assignment is not None
    with pytest.raises(Invalid):
        labeling.submit(
            work, project, labeler, sample.submission(assignment, EditBody(text="Four."))
        )
