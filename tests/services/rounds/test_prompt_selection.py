import pytest
from sqlalchemy.orm import Session

from app.db import now
from app.domain.plan import RoundPlan
from app.models import Completion, Project, Prompt, Purpose, Round, Split
from app.services.queue import comparisons
from app.services.rounds import prompt_selection
from tests.services import sample


@pytest.fixture
def project(session: Session) -> Project:
    return sample.make_project(session)


def make_round(session: Session, project: Project, number: int) -> Round:
    row = Round(
        project_id=project.id, number=number, plan=RoundPlan().to_json(), created_at=now(session)
    )
    session.add(row)
    session.flush()
    return row


def make_prompts(session: Session, project: Project, split: Split, count: int) -> list[int]:
    ids = []
    for _ in range(count):
        prompt_id, _ = sample.make_completions(session, project, 2)
        session.get_one(Prompt, prompt_id).split = split
        ids.append(prompt_id)
    session.flush()
    return ids


def use(session: Session, round_: Round, prompts: list[Prompt], purpose: Purpose) -> None:
    project = session.get_one(Project, round_.project_id)
    for prompt in prompts:
        ids = session.scalars(
            Completion.__table__.select()
            .with_only_columns(Completion.id)
            .where(Completion.prompt_id == prompt.id)
        ).all()
        comparisons.create(
            session,
            project,
            prompt.id,
            ids,
            natural_key=f"{round_.number}-{prompt.id}-{purpose}",
            seed=0,
            purpose=purpose,
            round_id=round_.id,
        )


def test_each_round_takes_a_fresh_slice_until_all_were_used(
    session: Session, project: Project
) -> None:
    every = set(make_prompts(session, project, Split.TRAIN, 6))
    make_prompts(session, project, Split.TEST, 2)
    taken: list[set[int]] = []
    for number in (1, 2, 3):
        round_ = make_round(session, project, number)
        prompts = prompt_selection.least_used(session, round_, Split.TRAIN, Purpose.TRAIN, 3)
        use(session, round_, prompts, Purpose.TRAIN)
        again = prompt_selection.least_used(session, round_, Split.TRAIN, Purpose.TRAIN, 3)
        assert [prompt.id for prompt in again] == [prompt.id for prompt in prompts], "retried"
        taken.append({prompt.id for prompt in prompts})
    assert taken[0] | taken[1] == every
    assert taken[2] == taken[0]


def test_part_of_the_test_set_stays_and_part_is_fresh(session: Session, project: Project) -> None:
    make_prompts(session, project, Split.TEST, 10)
    seen: list[list[int]] = []
    for number in (1, 2):
        round_ = make_round(session, project, number)
        prompts = prompt_selection.for_evaluation(session, round_, 4, 0.5)
        use(session, round_, prompts, Purpose.EVALUATION)
        seen.append([prompt.id for prompt in prompts])
    first, second = seen
    assert first[:2] == second[:2]
    assert len(set(first) | set(second)) == 6


def test_no_more_than_there_are(session: Session, project: Project) -> None:
    ids = make_prompts(session, project, Split.TEST, 3)
    round_ = make_round(session, project, 1)
    prompts = prompt_selection.for_evaluation(session, round_, 200, 0.5)
    assert {prompt.id for prompt in prompts} == set(ids)


def test_imported_completions_are_those_nobody_here_wrote(
    session: Session, project: Project
) -> None:
    (prompt_id,) = make_prompts(session, project, Split.TRAIN, 1)
    (author,) = sample.make_labelers(session, project, 1)
    session.add(
        Completion(
            project_id=project.id,
            prompt_id=prompt_id,
            source="edit",
            source_key="edit",
            sample_index=0,
            text="Edited.",
            author_id=author,
            created_at=now(session),
        )
    )
    session.flush()
    by_prompt = prompt_selection.imported(session, [prompt_id], most=5)
    assert {completion.source for completion in by_prompt[prompt_id]} == {"test"}
    assert len(prompt_selection.imported(session, [prompt_id], most=1)[prompt_id]) == 1
