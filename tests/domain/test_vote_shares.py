from dataclasses import dataclass

import pytest

from app.domain import vote_shares
from app.domain.ranking import Ranking
from app.domain.vote_shares import Camp, PairVotes, TrainingPair

FIRST, SECOND, TIE = Ranking((1, 2)), Ranking((2, 1)), Ranking((1, 1))


@dataclass(frozen=True)
class Vote:
    ranking: Ranking | None
    strength: int | None = None
    both_bad: bool = False


BAD = Vote(None, both_bad=True)


def pair(*votes: Vote) -> PairVotes:
    (counted,) = vote_shares.camps(votes, 2)
    return counted


@pytest.mark.parametrize(
    ("votes", "largest"),
    [
        ((Vote(FIRST), Vote(TIE), Vote(TIE)), (Camp.TIE,)),
        ((Vote(FIRST), BAD, BAD), (Camp.NEITHER,)),
        ((Vote(FIRST), Vote(SECOND)), (Camp.FIRST, Camp.SECOND)),
        ((Vote(FIRST), BAD), (Camp.FIRST, Camp.NEITHER)),
        ((Vote(SECOND), Vote(SECOND), Vote(TIE)), (Camp.SECOND,)),
    ],
)
def test_the_largest_camp_is_one_of_votes(
    votes: tuple[Vote, ...], largest: tuple[Camp, ...]
) -> None:
    assert pair(*votes).largest == largest


def test_agreement_and_lead_count_the_votes_without_a_preference() -> None:
    counted = pair(Vote(FIRST), Vote(FIRST), BAD, BAD)
    assert (counted.votes, counted.agreement, counted.lead) == (4, 0.5, 0.5)


def test_both_bad_is_no_part_of_the_share_to_train_on() -> None:
    (share,) = vote_shares.pairs([Vote(FIRST, 3), Vote(TIE), BAD, BAD], 2)
    assert share == TrainingPair(0, 1, 0.75, 2, 0.5, 3.0)
    assert vote_shares.pairs([BAD], 2) == ()


def test_a_settlement_is_certain_about_every_pair() -> None:
    settled = vote_shares.settled_pairs(Ranking((2, 1, 2)), 3)
    assert [(pair.first, pair.second, pair.share) for pair in settled] == [
        (0, 1, 0.0),
        (0, 2, 0.5),
        (1, 2, 1.0),
    ]
    assert {(pair.votes, pair.agreement) for pair in settled} == {(3, 1.0)}
    assert vote_shares.settled_pairs(FIRST, 0)[0].votes == 1, "it weighs as much as one vote"
