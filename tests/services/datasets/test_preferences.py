from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain import vote_shares
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind, PickBody, RankBody
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats.manifest import Counts
from app.formats.training_rows import TrainingRow
from app.models import Adjudication, Comparison, Judgment, Project, Prompt, Purpose, Split
from app.services.datasets import implied_rankings, judged_comparisons, preferences
from app.services.datasets.judged_comparisons import ExportOptions, JudgedPage, Ties
from app.services.judging import corrections, labeling
from app.services.project import prompt_labels
from app.services.project.prompt_labels import LabelAction, PromptSelection
from app.services.queue import comparisons, slot_leases
from tests.services import sample
from tests.services.sample_votes import judged_rows

Judge = Callable[..., list[int]]


@pytest.fixture
def project(session: Session) -> Project:
    return sample.make_project(session)


@pytest.fixture
def judge(session: Session, project: Project) -> Judge:
    """Give a function that lets a labeler each say one of some bodies of a comparison."""
    labelers = sample.make_labelers(session, project, 4)

    def say(comparison: Comparison, bodies: Sequence[JudgmentBody]) -> list[int]:
        return [
            _submit(session, project, labeler, body, comparison)
            for labeler, body in zip(labelers, bodies, strict=False)
        ]

    return say


def _submit(
    session: Session, project: Project, labeler: int, body: JudgmentBody, comparison: Comparison
) -> int:
    held: list[int] = []
    while True:
        assignment = slot_leases.claim(
            session,
            sample.SECRET,
            project,
            labeler,
            held=held,
            draw=sample.never_mix(),
        )
        assert assignment is not None
        if assignment.comparison_id == comparison.id:
            given = sample.submission(assignment, body=body)
            return labeling.submit(session, project, labeler, given).judgment_id
        held.append(assignment.id)


def _rows(
    session: Session,
    project: Project,
    *,
    splits: Sequence[Split] = (Split.TRAIN,),
    counts: Counts | None = None,
) -> list[TrainingRow]:
    options = ExportOptions(ties=Ties.HALF, splits=tuple(splits))
    judged = judged_rows(session, project.id, options, counts or Counts())
    rows = [judged_comparisons.training_row(comparison) for comparison in judged]
    return [row for row in rows if row is not None]


def test_a_share_counts_votes_and_halves_ties(
    session: Session, project: Project, judge: Judge
) -> None:
    comparison = sample.make_comparison(session, project, overlap=4)
    ids = judge(
        comparison,
        [PickBody("a", 4), PickBody("a", 2), PickBody("b", 3), PickBody("tie")],
    )
    (row,) = _rows(session, project)
    (pair,) = row.pairs
    assert (pair.first, pair.second, pair.votes) == (0, 1, 4)
    assert pair.share == (1 + 1 + 0 + 0.5) / 4
    assert pair.agreement == 0.5
    assert pair.strength == 3.0
    assert row.judgment_ids == tuple(ids)
    assert len(row.candidates) == 2


def test_a_ranking_gives_every_pair(session: Session, judge: Judge, project: Project) -> None:
    project.judgment_kind, project.k = JudgmentKind.RANK, 3
    comparison = sample.make_comparison(session, project, overlap=1)
    judge(comparison, [RankBody((2, 1, 2))])
    (row,) = _rows(session, project)
    assert {(p.first, p.second): p.share for p in row.pairs} == {
        (0, 1): 0.0,
        (0, 2): 0.5,
        (1, 2): 1.0,
    }


def test_what_does_not_count_is_left_out_and_counted(
    session: Session, project: Project, judge: Judge
) -> None:
    retracted = sample.make_comparison(session, project, overlap=1)
    (judgment_id,) = judge(retracted, [PickBody("a")])
    judgment = session.get_one(Judgment, judgment_id)
    corrections.retract(session, project, judgment.labeler_id, judgment_id, key="k" * 12)
    withdrawn = sample.make_comparison(session, project, overlap=1)
    judge(withdrawn, [PickBody("a")])
    comparisons.withdraw(session, withdrawn.id)
    surplus = sample.make_comparison(session, project, overlap=1)
    (surplus_id,) = judge(surplus, [PickBody("b")])
    session.get_one(Judgment, surplus_id).is_surplus = True
    bad = sample.make_comparison(session, project, overlap=1)
    judge(bad, [PickBody(None, both_bad=True)])
    kept = sample.make_comparison(session, project, overlap=1)
    judge(kept, [PickBody("b")])
    session.flush()

    counts = Counts()
    rows = _rows(session, project, counts=counts)

    assert [row.comparison_id for row in rows] == [kept.id]
    assert (counts.judgments.considered, counts.comparisons.considered) == (5, 5)
    assert counts.judgments.excluded == {
        judged_comparisons.RETRACTED: 1,
        judged_comparisons.SURPLUS: 1,
        judged_comparisons.WITHDRAWN: 1,
    }
    assert counts.comparisons.excluded == {
        judged_comparisons.UNJUDGED: 2,
        judged_comparisons.WITHDRAWN: 1,
    }  # both bad is a judgment that prefers nothing


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.TRAIN])
def test_only_train_purpose_reaches_training(
    session: Session, project: Project, judge: Judge, purpose: Purpose
) -> None:
    comparison = sample.make_comparison(session, project, overlap=1)
    judge(comparison, [PickBody("a")])
    assert len(_rows(session, project)) == 1
    comparison.purpose = purpose
    session.flush()
    assert _rows(session, project) == []


def test_held_out_prompts_are_asked_for_by_name(
    session: Session, project: Project, judge: Judge
) -> None:
    comparison = sample.make_comparison(session, project, overlap=1)
    judge(comparison, [PickBody("a")])
    session.get_one(Prompt, comparison.prompt_id).split = Split.VALIDATION
    session.flush()
    assert _rows(session, project) == []
    assert len(_rows(session, project, splits=[Split.VALIDATION])) == 1


def test_pages_give_what_one_read_gives(session: Session, project: Project, judge: Judge) -> None:
    for _ in range(5):
        judge(sample.make_comparison(session, project, overlap=1), [PickBody("a")])
    whole = [
        one.comparison_id for one in judged_rows(session, project.id, ExportOptions(), Counts())
    ]
    assert len(whole) == 5
    paged: list[int] = []
    for after in _pages(session, project, paged):
        assert after == paged[-1]
    assert paged == whole


@pytest.mark.parametrize(
    ("letters", "tokens", "limit"), [(10, 2, preferences.PAGE), (64_000, 16_000, 10)]
)
def test_a_page_holds_few_large_comparisons_and_many_small_ones(
    session: Session, project: Project, judge: Judge, letters: int, tokens: int, limit: int
) -> None:
    judge(sample.make_comparison(session, project, overlap=1), [PickBody("a")])
    (row,) = judged_rows(session, project.id, ExportOptions(), Counts())
    large = replace(row.candidates[0], text="x" * letters, token_ids=(1,) * tokens)
    page = JudgedPage((replace(row, candidates=(large,) * 9),) * 40, None)
    assert preferences.next_limit(page, 7) == limit
    assert preferences.next_limit(JudgedPage((), 5), limit) == limit


def _pages(session: Session, project: Project, found: list[int]) -> Iterator[int]:
    after: int | None = 0
    while after is not None:
        page = preferences.read_page(
            session, project.id, ExportOptions(), Counts(), after=after, limit=2
        )
        found.extend(one.comparison_id for one in page.rows)
        after = page.after
        if after is not None:
            yield after


def test_an_adjudicated_comparison_is_left_out_on_request(
    session: Session, project: Project, judge: Judge
) -> None:
    comparison = sample.make_comparison(session, project, overlap=1)
    judge(comparison, [PickBody("a")])
    lead = session.scalars(select(Judgment.labeler_id)).one()
    session.add(
        Adjudication(
            project_id=project.id,
            comparison_id=comparison.id,
            adjudicator_id=lead,
            preferred="b",
            reason="mistake",
            guidelines_version=1,
            created_at=now(session),
        )
    )
    session.flush()
    (kept,) = judged_rows(session, project.id, ExportOptions(), Counts())
    assert kept.settled == Ranking((2, 1))
    assert len(kept.votes) == 1, "an adjudication is never a rater"
    counts = Counts()
    without = ExportOptions(include_adjudicated=False)
    assert list(judged_rows(session, project.id, without, counts)) == []
    assert counts.comparisons.excluded == {judged_comparisons.ADJUDICATED: 1}
    assert counts.judgments.excluded == {judged_comparisons.ADJUDICATED: 1}


def test_ratings_imply_an_order_by_the_criteria_weights() -> None:
    said = Judgment(ratings={"right": [1, 5, 3], "kind": [5, 1, 3]})
    by_right = implied_rankings.ranking_of(said, {"right": 2.0, "kind": 1.0})
    assert by_right == Ranking((3, 1, 2))
    assert implied_rankings.ranking_of(said, {"right": 1.0, "kind": 1.0}) == Ranking((1, 1, 1))
    assert implied_rankings.ranking_of(Judgment()) is None


@given(st.lists(st.permutations([1, 2, 3]), min_size=1, max_size=6))
def test_shares_of_a_pair_and_its_reverse_add_up_to_one(orders: list[list[int]]) -> None:
    votes = [_vote(tuple(order)) for order in orders]
    turned = [_vote(tuple(4 - rank for rank in order)) for order in orders]
    for pair, back in zip(vote_shares.pairs(votes, 3), vote_shares.pairs(turned, 3), strict=True):
        assert pair.share + back.share == pytest.approx(1.0)


def _vote(ranks: tuple[int, ...]) -> judged_comparisons.Voted:
    moment: Any = None
    return judged_comparisons.Voted(
        1, "L1", Ranking(ranks), None, False, None, None, (), "", (), 1, moment, moment, 0
    )


def test_options_survive_json_and_refuse_what_they_do_not_know() -> None:
    options = ExportOptions(
        min_agreement=0.6,
        rounds=(2, 3),
        splits=(Split.TRAIN, Split.TEST),
        categories=("open qa, closed", "(none)"),
        tags=("hard",),
    )
    assert ExportOptions.from_json(options.to_json()) == options
    for data in (
        {"agregate": "each_vote"},
        {"aggregate": "best"},
        {"min_agreement": 2},
        {"tags": [3]},
    ):
        with pytest.raises(Invalid):
            ExportOptions.from_json(data)


def test_categories_and_tags_select_and_the_rest_is_counted(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        (labeler,) = sample.make_labelers(session, project, 1)
        made = [sample.make_comparison(session, project) for _ in range(3)]
        for comparison, category in zip(made, ("math", "math", "poems"), strict=True):
            _label(session, project, comparison, LabelAction.CATEGORIZE, category)
            _submit(session, project, labeler, PickBody("a"), comparison)
        _label(session, project, made[0], LabelAction.TAG, "hard")
        for options, ids in (
            (ExportOptions(categories=("math",)), {made[0].id, made[1].id}),
            (ExportOptions(categories=("poems", "math"), tags=("hard",)), {made[0].id}),
            (ExportOptions(tags=("easy",)), set()),
            (ExportOptions(), {one.id for one in made}),
        ):
            counts = Counts()
            found = list(judged_rows(session, project.id, options, counts))
            assert {row.comparison_id for row in found} == ids
            assert {row.prompt.category for row in found} <= {"math", "poems"}
            preferences.count_outside(session, project.id, options, counts)
            others = len(made) - len(ids)
            for unit in (counts.comparisons, counts.judgments):
                assert unit.excluded.get(judged_comparisons.OTHER_LABEL, 0) == others


def _label(
    session: Session, project: Project, comparison: Comparison, action: LabelAction, value: str
) -> None:
    selection = PromptSelection(ids=(comparison.prompt_id,))
    prompt_labels.edit(session, project, selection, action, value, actor_id=None)
