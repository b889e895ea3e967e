from collections.abc import Callable, Mapping, Sequence
from itertools import count

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import (
    JudgmentBody,
    JudgmentKind,
    PickBody,
    RankBody,
    of_blind_pairs,
)
from app.domain.plan import RoundPlan
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonCompletion,
    Completion,
    Evaluation,
    Project,
    Purpose,
    Round,
)
from app.services.judging import labeling
from app.services.project import prompt_labels
from app.services.project.prompt_labels import LabelAction, PromptSelection
from app.services.queue import comparisons, slot_leases
from app.services.rounds import completion_pairs, evaluations
from tests.services import sample

_numbers = count()
Verdicts = Sequence[str]  # "new", "old", "tie" or "bad", by labeler


def _rank_body(side: str | None, both_bad: bool) -> RankBody:
    ranks = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}
    return RankBody(None if side is None else ranks[side], both_bad)


BODIES: Mapping[str, Callable[[str | None, bool], JudgmentBody]] = {
    JudgmentKind.PICK: lambda side, both_bad: PickBody(side, both_bad=both_bad),
    JudgmentKind.RANK: _rank_body,
}


@pytest.fixture
def project(session: Session) -> Project:
    return sample.make_project(session, overlap=1, evaluation_rate=1.0)


@pytest.fixture
def running(session: Session, project: Project) -> Evaluation:
    row = Round(
        project_id=project.id, number=1, plan=RoundPlan().to_json(), created_at=now(session)
    )
    session.add(row)
    models = [
        Checkpoint(
            project_id=project.id,
            kind=CheckpointKind.POLICY,
            name=f"Policy {n}",
            uri=f"policy/{n}",
            created_at=now(session),
        )
        for n in (1, 2)
    ]
    session.add_all(models)
    session.flush()
    return evaluations.open_evaluation(session, row, models[0].id, models[1].id)


@pytest.fixture
def labelers(session: Session, project: Project) -> list[int]:
    return sample.make_labelers(session, project, 3)


def ask(
    session: Session,
    project: Project,
    running: Evaluation,
    labelers: list[int],
    verdicts: Verdicts,
) -> tuple[int, int]:
    """Compare two completions, let labelers judge; return the new and the old one's ids."""
    prompt_id, (new_id, old_id) = sample.make_completions(session, project, 2)
    session.get_one(Completion, new_id).checkpoint_id = running.new_checkpoint_id
    session.get_one(Completion, old_id).checkpoint_id = running.old_checkpoint_id
    comparison = comparisons.create(
        session,
        project,
        prompt_id,
        [new_id, old_id],
        natural_key=f"e-{next(_numbers)}",
        seed=next(_numbers),
        purpose=Purpose.EVALUATION,
        evaluation_id=running.id,
        overlap=len(verdicts),
        kind=of_blind_pairs(JudgmentKind(project.judgment_kind)),
    )
    place = session.scalars(
        select(ComparisonCompletion.position).where(
            ComparisonCompletion.comparison_id == comparison.id,
            ComparisonCompletion.completion_id == new_id,
        )
    ).one()
    letters = {"new": "ab"[place], "old": "ba"[place], "tie": "tie"}
    for labeler, verdict in zip(labelers, verdicts, strict=False):
        assignment = slot_leases.claim(session, sample.SECRET, project, labeler)
        assert assignment is not None
        side, both_bad = letters.get(verdict), verdict == "bad"
        body = BODIES[comparison.kind](side, both_bad)
        labeling.submit(session, project, labeler, sample.submission(assignment, body=body))
    return new_id, old_id


@pytest.mark.parametrize("kind", [JudgmentKind.PICK, JudgmentKind.RANK, JudgmentKind.RATE])
def test_votes_count_for_the_policy_that_wrote_the_completion(
    session: Session,
    project: Project,
    running: Evaluation,
    labelers: list[int],
    kind: JudgmentKind,
) -> None:
    project.judgment_kind = kind
    for verdict in ("new", "new", "new", "old", "tie", "bad"):
        ask(session, project, running, labelers, [verdict])
    results = evaluations.results(session, running)
    assert (results.tally.wins, results.tally.ties, results.tally.losses) == (3, 1, 1)
    assert results.tally.both_bad == 1
    assert results.share == pytest.approx(3.5 / 5)
    assert results.at_least_as_good == pytest.approx(4 / 5)
    assert results.low is not None
    assert results.high is not None
    assert 0 <= results.low < 0.7 < results.high <= 1
    assert results.prompts == 6
    asked = set(session.scalars(select(Comparison.kind)))
    assert asked == {JudgmentKind.RANK if kind == JudgmentKind.RANK else JudgmentKind.PICK}


def test_prompts_weigh_equally_however_often_they_were_judged(
    session: Session, project: Project, running: Evaluation, labelers: list[int]
) -> None:
    ask(session, project, running, labelers, ["new", "new", "new"])
    ask(session, project, running, labelers, ["old"])
    assert evaluations.results(session, running).share == pytest.approx(0.5)


def test_identical_completions_are_ties(
    session: Session, project: Project, running: Evaluation, labelers: list[int]
) -> None:
    ask(session, project, running, labelers, ["new"])
    evaluations.record_scores(
        session, running, arbiter="R", scores={}, identical=[7, 8, 9], lengths={}, notes={}
    )
    results = evaluations.results(session, running)
    assert results.share == pytest.approx((1 + 3 * 0.5) / 4)
    assert results.at_least_as_good == 1.0
    assert results.tally.identical == 3
    ask(session, project, running, labelers, ["old"])
    assert evaluations.results(session, running).at_least_as_good == pytest.approx(4 / 5)


def test_the_arbiter_is_compared_with_the_labelers(
    session: Session, project: Project, running: Evaluation, labelers: list[int]
) -> None:
    scores: dict[int, float] = {}
    for verdict, lead in (("new", 1.0), ("old", 2.0), ("old", -1.0), ("tie", 1.0)):
        new_id, old_id = ask(session, project, running, labelers, [verdict])
        scores |= {new_id: lead, old_id: 0.0}
    evaluations.record_scores(
        session,
        running,
        arbiter="Reward 1",
        scores=scores,
        identical=[],
        lengths={"new": 8.0, "old": 9.0},
        notes={},
    )
    results = evaluations.results(session, running)
    assert results.arbiter is not None
    assert results.arbiter.share == pytest.approx(3 / 4)
    assert results.arbiter.agreement == pytest.approx(2 / 3)
    assert results.arbiter.compared == 3
    assert (results.length_new, results.length_old) == (8.0, 9.0)


def test_completion_pairs_leave_out_prompts_that_one_policy_did_not_answer(
    session: Session, project: Project, running: Evaluation, labelers: list[int]
) -> None:
    new_id, old_id = ask(session, project, running, labelers, ["new"])
    lonely_id, _ = ask(session, project, running, labelers, ["new"])
    evaluations.record_scores(
        session,
        running,
        arbiter="Reward 1",
        scores={new_id: 1.5, old_id: -0.5, lonely_id: 0.0},
        identical=[],
        lengths={},
        notes={},
    )
    (pair,) = completion_pairs.of_evaluation(session, running)
    assert (pair.new.id, pair.old.id) == (new_id, old_id)
    assert (pair.score_new, pair.score_old) == (1.5, -0.5)


def test_an_evaluation_without_judgments_has_no_share(
    session: Session, running: Evaluation
) -> None:
    results = evaluations.results(session, running)
    assert (results.share, results.low, results.arbiter) == (None, None, None)
    assert evaluations.is_judged(session, running.id)


def test_completing_twice_changes_nothing(
    session: Session, project: Project, running: Evaluation, labelers: list[int]
) -> None:
    ask(session, project, running, labelers, ["new"])
    evaluations.complete(session, running)
    first = (running.completed_at, running.results["summary"]["share"])
    evaluations.complete(session, running)
    assert (running.completed_at, running.results["summary"]["share"]) == first


def test_a_round_has_one_evaluation(session: Session, running: Evaluation) -> None:
    row = session.get_one(Round, running.round_id)
    again = evaluations.open_evaluation(
        session, row, running.new_checkpoint_id, running.old_checkpoint_id
    )
    assert again.id == running.id


def test_withdrawn_comparisons_stop_counting_even_after_the_evaluation_is_complete(
    session: Session, project: Project, running: Evaluation, labelers: list[int]
) -> None:
    scores: dict[int, float] = {}
    for verdict in ("new", "old", "bad"):
        new_id, old_id = ask(session, project, running, labelers, [verdict])
        scores |= {new_id: 1.0, old_id: 0.0}
    evaluations.record_scores(
        session, running, arbiter="R", scores=scores, identical=[], lengths={}, notes={}
    )
    evaluations.complete(session, running)
    asked = session.scalars(select(Comparison).order_by(Comparison.id)).all()
    for comparison in asked[1:]:
        comparisons.withdraw(session, comparison.id)
    results = evaluations.results(session, running)
    assert (results.tally.wins, results.tally.losses, results.tally.both_bad) == (1, 0, 0)
    assert (results.prompts, results.judged, results.share) == (1, 1, 1.0)
    assert results.arbiter is not None
    assert (results.arbiter.compared, results.arbiter.agreement) == (1, 1.0)
    pairs = completion_pairs.of_evaluation(session, running)
    assert [pair.is_withdrawn for pair in pairs] == [False, True, True]


def test_results_are_cut_by_category_and_tag(
    session: Session, project: Project, running: Evaluation, labelers: list[int]
) -> None:
    asked = {
        name: session.get_one(Completion, ask(session, project, running, labelers, [verdict])[0])
        for name, verdict in (("math", "new"), ("also math", "old"), ("poem", "new"))
    }
    assert evaluations.by_category(session, running) == ()
    for name, category in (("math", "math"), ("also math", "math"), ("poem", "writing")):
        selection = PromptSelection(ids=(asked[name].prompt_id,))
        prompt_labels.edit(
            session, project, selection, LabelAction.CATEGORIZE, category, actor_id=None
        )
        if name != "also math":
            prompt_labels.edit(session, project, selection, LabelAction.TAG, "t", actor_id=None)
    evaluations.record_scores(
        session,
        running,
        arbiter="R",
        scores={},
        identical=[asked["poem"].prompt_id],
        lengths={"new": 8.0, "old": 9.0},
        notes={},
    )
    cut = {each.name: each.results for each in evaluations.by_category(session, running)}
    assert {name: (each.tally.wins, each.tally.losses) for name, each in cut.items()} == {
        "math": (1, 1),
        "writing": (1, 0),
    }
    assert (cut["math"].tally.identical, cut["writing"].tally.identical) == (0, 1)
    assert cut["math"].length_new is None
    tagged = evaluations.results(session, running, tags=("t",))
    assert (tagged.tally.wins, tagged.tally.losses) == (2, 0)
    both = evaluations.results(session, running, categories=("math",), tags=("t",))
    assert (both.tally.wins, both.judged) == (1, 1)
