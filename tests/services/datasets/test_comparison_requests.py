"""Comparisons asked of prompts and completions that are here already."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid
from app.models import Comparison, ComparisonCompletion, Completion, Project, Prompt, Split
from app.services.datasets import comparison_requests
from app.services.project import prompts
from tests.services import sample


def ask(
    session: Session, project: Project, most: int = 100
) -> comparison_requests.RequestedComparisons:
    return comparison_requests.ask(session, project, most=most, actor_id=None)


def sizes(session: Session) -> list[int]:
    query = (
        select(func.count(ComparisonCompletion.completion_id))
        .select_from(Comparison)
        .outerjoin(ComparisonCompletion, ComparisonCompletion.comparison_id == Comparison.id)
        .group_by(Comparison.id)
        .order_by(Comparison.id)
    )
    return list(session.scalars(query))


def test_every_prompt_without_a_demonstration_is_asked_once(session: Session) -> None:
    project = sample.make_project(session, judgment_kind=JudgmentKind.WRITE, k=0)
    ids = [sample.make_completions(session, project, 0)[0] for _ in range(5)]
    prompts.add_demonstrations(session, [(session.get_one(Prompt, ids[0]), "Done.")])
    session.get_one(Prompt, ids[1]).split = Split.TEST
    assert comparison_requests.waiting(session, project) == 3
    assert ask(session, project, most=2) == comparison_requests.RequestedComparisons(2, 1)
    assert ask(session, project) == comparison_requests.RequestedComparisons(1, 0)
    assert ask(session, project) == comparison_requests.RequestedComparisons(0, 0)
    assert set(session.scalars(select(Comparison.prompt_id))) == set(ids[2:])
    assert sizes(session) == [0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "k", "expected"),
    [
        (JudgmentKind.PICK, 2, [2, 2]),
        (JudgmentKind.RANK, 3, [3, 2]),
        (JudgmentKind.RATE, 4, [4, 1]),
        (JudgmentKind.THUMBS, 1, [1] * 5),
        (JudgmentKind.EDIT, 1, [1] * 5),
    ],
)
def test_completions_are_asked_of_in_comparisons_of_the_projects_size(
    session: Session, kind: JudgmentKind, k: int, expected: list[int]
) -> None:
    project = sample.make_project(session, judgment_kind=kind, k=k)
    sample.make_completions(session, project, 5)
    assert comparison_requests.waiting(session, project) == 1
    first = ask(session, project)
    assert (first.made, first.left_out) == (len(expected), 0)
    assert ask(session, project).left_out == sum(expected)
    assert sizes(session) == expected
    assert ask(session, project).made == 0


@pytest.mark.parametrize("models", [3, 4, 5])
def test_over_the_prompts_every_model_meets_every_other(session: Session, models: int) -> None:
    project = sample.make_project(session)
    for _ in range(models):
        sample.make_completions(session, project, models)
    ask(session, project)
    query = select(ComparisonCompletion.comparison_id, Completion.sample_index).join(
        Completion, Completion.id == ComparisonCompletion.completion_id
    )
    met: dict[int, set[int]] = {}
    for comparison_id, model in session.execute(query):
        met.setdefault(comparison_id, set()).add(model)
    assert len(met) == models * (models // 2)
    assert len(set(map(frozenset, met.values()))) == models * (models - 1) // 2


def test_what_was_asked_in_one_kind_can_be_asked_in_another(session: Session) -> None:
    project = sample.make_project(session)
    sample.make_completions(session, project, 2)
    assert ask(session, project).made == 1
    project.judgment_kind, project.k = JudgmentKind.THUMBS, 1
    assert ask(session, project).made == 2


def test_the_number_is_within_reason(session: Session) -> None:
    project = sample.make_project(session)
    with pytest.raises(Invalid, match="not 0"):
        ask(session, project, most=0)
