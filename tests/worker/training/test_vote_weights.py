from dataclasses import replace

import pytest

from app.domain import vote_shares
from app.domain.ranking import Ranking
from app.domain.reward_parts import LabelerWeight, Weighing, WeightSource
from app.domain.reward_plan import RewardPlan
from app.domain.vote_shares import TrainingAbsolute
from app.errors import Invalid
from app.formats.training_rows import (
    DatasetPrompt,
    FrozenRow,
    JudgedCompletion,
    PlainVote,
    TrainingRow,
)
from app.models import Split
from worker.training.vote_weights import VoteWeights


def row(*votes: tuple[str, tuple[int, ...]], strength: int | None = None) -> FrozenRow:
    plain = tuple(
        PlainVote(number, labeler, Ranking(ranks), strength)
        for number, (labeler, ranks) in enumerate(votes)
    )
    k = len(votes[0][1])
    candidate = JudgedCompletion(1, "text", None, True, "SFT 1", None)
    return FrozenRow(
        TrainingRow(
            1,
            1,
            DatasetPrompt(1, (), Split.TRAIN, ""),
            (candidate,) * k,
            vote_shares.pairs(plain, k),
            (),
        ),
        plain,
    )


def plan(weighing: Weighing = Weighing.EQUAL, **labelers: float) -> RewardPlan:
    named = tuple(LabelerWeight(name, weight) for name, weight in labelers.items())
    return RewardPlan(weighing=weighing, labelers=named)


def test_without_weights_pairs_are_as_they_were_judged() -> None:
    one = row(("L1", (1, 2)), ("L2", (2, 1)), ("L3", (1, 1)), strength=4)
    (pair,) = VoteWeights.of(plan(), [one]).pairs(one)
    assert (pair.share, pair.weight, pair.strength, pair.margin) == (0.5, 1.0, 4, 0.0)


def test_a_labelers_weight_moves_the_share_and_the_pairs_weight() -> None:
    one = row(("L1", (1, 2)), ("L2", (2, 1)), strength=4)
    (pair,) = VoteWeights.of(plan(L1=3.0), [one]).pairs(one)
    assert pair.share == pytest.approx(0.75)
    assert pair.weight == pytest.approx(2.0)
    assert pair.margin == pytest.approx(0.5)


def test_weighed_ties_count_half() -> None:
    one = row(("L1", (1, 1)), ("L2", (2, 1)))
    (pair,) = VoteWeights.of(plan(L2=0.5), [one]).pairs(one)
    assert pair.share == pytest.approx(0.5 / 1.5)


def test_a_comparison_only_by_labelers_that_weigh_nothing_is_no_pair() -> None:
    one = row(("L1", (1, 2, 3)))
    assert VoteWeights.of(plan(L1=0.0), [one]).pairs(one) == ()


def test_by_votes_a_comparison_weighs_what_it_has_over_the_usual_number() -> None:
    one, other = row(("L1", (1, 2))), row(("L1", (1, 2)), ("L2", (1, 2)), ("L3", (1, 2)))
    weights = VoteWeights.of(plan(Weighing.VOTES), [one, other])
    assert [weights.pairs(each)[0].weight for each in (one, other)] == [0.5, 1.5]


def test_labelers_of_whom_there_is_no_vote_are_refused() -> None:
    with pytest.raises(
        Invalid, match="weighs labeler L9, who has no vote; labelers with votes: L1"
    ):
        VoteWeights.of(plan(L9=0.5), [row(("L1", (1, 2)))])


def test_weights_of_labelers_beside_ratings_are_refused() -> None:
    one = row(("L1", (1, 2)))
    rated = FrozenRow(
        TrainingRow(1, 1, one.row.prompt, (), (), (), (TrainingAbsolute({"kind": 2.0}),)), one.votes
    )
    with pytest.raises(Invalid, match="ratings and thumbs are means over labelers"):
        VoteWeights.of(plan(L1=0.5), [rated])


def thumbed(*judgments: int, thumb: float = 0.5) -> FrozenRow:
    said = (TrainingAbsolute(thumb=thumb),)
    return FrozenRow(TrainingRow(1, 1, row(("L1", (1, 2))).row.prompt, (), (), judgments, said), ())


def test_by_votes_ratings_and_thumbs_weigh_what_they_have_over_the_usual_number() -> None:
    one, other = thumbed(1), thumbed(2, 3, 4)
    weights = VoteWeights.of(plan(Weighing.VOTES), [one, other])
    assert [weights.absolutes(each)[0].weight for each in (one, other)] == [0.5, 1.5]
    equal = VoteWeights.of(plan(), [one, other])
    assert [equal.absolutes(each)[0].weight for each in (one, other)] == [1.0, 1.0]


def test_thumbs_and_pairs_have_usual_numbers_of_their_own() -> None:
    compared, thumb = row(("L1", (1, 2)), ("L2", (1, 2))), thumbed(1, 2, 3, 4)
    weights = VoteWeights.of(plan(Weighing.VOTES), [compared, thumb])
    assert weights.pairs(compared)[0].weight == 1.0
    assert weights.absolutes(thumb)[0].weight == 1.0


def test_the_projects_weights_ignore_labelers_without_a_vote_and_say_so() -> None:
    one = row(("L1", (1, 2)), ("L2", (2, 1)))
    wanted = replace(plan(L1=3.0, L9=0.5, L12=2.0), labelers_from=WeightSource.PROJECT)
    weights = VoteWeights.of(wanted, [one])
    assert weights.pairs(one)[0].share == pytest.approx(0.75)
    assert [remark[:17] for remark in weights.remarks] == ["L9, L12 have a we"]
    assert VoteWeights.of(replace(wanted, labelers=()), [one]).remarks == ()


def test_the_projects_weights_leave_ratings_alone_and_say_so() -> None:
    one = row(("L1", (1, 2)), ("L2", (2, 1)))
    rated = FrozenRow(replace(one.row, absolutes=(TrainingAbsolute({"kind": 2.0}),)), one.votes)
    wanted = replace(plan(L1=3.0), labelers_from=WeightSource.PROJECT)
    weights = VoteWeights.of(wanted, [one, rated])
    assert [weights.pairs(each)[0].share for each in (one, rated)] == [pytest.approx(0.75), 0.5]
    assert ["of 1 comparison," in remark for remark in weights.remarks] == [True]


def test_what_is_settled_does_not_move_with_the_weights_of_labelers() -> None:
    voted = row(("L1", (1, 2)), ("L2", (1, 2)))
    settled = replace(
        voted,
        row=replace(
            voted.row, pairs=vote_shares.settled_pairs(Ranking((2, 1)), 2), is_settled=True
        ),
    )
    (pair,) = VoteWeights.of(plan(L1=0.0), [settled]).pairs(settled)
    assert (pair.share, pair.weight) == (0.0, 1.0)
