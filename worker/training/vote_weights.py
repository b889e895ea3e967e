"""How much each judgment counts in a reward model's training, as the round's plan says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Self

from app.domain.plan import RewardPlan
from app.domain.reward_parts import Weighing
from app.domain.vote_shares import TrainingPair
from app.errors import Invalid
from app.formats.training_rows import FrozenRow, PlainVote
from worker.rlhf.core.examples import AbsoluteFeedback, PreferencePair

STRENGTHS = 4


@dataclass(frozen=True, slots=True)
class VoteWeights:
    """Weights of labelers, 1 by default, and the votes at which a pair weighs 1, if any.

    A labeler's weight changes the vote share, and the pair's weight by the mean over its votes. One
    with nothing left is no pair. `usual_judgments` are those at which what was said of completions
    one by one weighs 1.
    """

    labelers: Mapping[str, float] = field(default_factory=dict)
    usual_votes: float | None = None
    usual_judgments: float | None = None

    @classmethod
    def of(cls, plan: RewardPlan, rows: Sequence[FrozenRow]) -> Self:
        """Return the weights of a plan on its training rows.

        Raises:
            Invalid: a labeler is not in the data, or what people said of single completions, which
                is kept as a mean over labelers, would need them.
        """
        labelers = {each.labeler: each.weight for each in plan.labelers}
        known = {vote.labeler for row in rows for vote in row.votes}
        for name in labelers:
            if name not in known:
                raise Invalid(
                    f"the plan weighs labeler {name}, of whom there is no vote; "
                    f"there are {', '.join(sorted(known)) or 'none'}"
                )
        if labelers and any(row.row.absolutes for row in rows):
            raise Invalid(
                "labelers can be weighed where completions are compared; ratings and thumbs are "
                "means over labelers"
            )
        if plan.weighing is not Weighing.VOTES:
            return cls(labelers)
        votes = [pair.votes for row in rows for pair in row.row.pairs]
        judgments = [_judgments(row) for row in rows if row.row.absolutes]
        return cls(
            labelers,
            fmean(votes) if votes else None,
            fmean(judgments) if judgments else None,
        )

    def pairs(self, one: FrozenRow) -> tuple[PreferencePair, ...]:
        """Return a row's pairs with their shares, margins and weights."""
        return tuple(
            made for pair in one.row.pairs if (made := self._pair(pair, one.votes)) is not None
        )

    def absolutes(self, one: FrozenRow) -> tuple[AbsoluteFeedback, ...]:
        """Return what was said of a row's completions one by one, with its weight."""
        weight = 1.0 if self.usual_judgments is None else _judgments(one) / self.usual_judgments
        return tuple(
            AbsoluteFeedback(each.ratings, each.thumb, weight) for each in one.row.absolutes
        )

    def _pair(self, pair: TrainingPair, votes: Sequence[PlainVote]) -> PreferencePair | None:
        share, weight = pair.share, 1.0
        if self.labelers and votes:
            each = [self.labelers.get(vote.labeler, 1.0) for vote in votes]
            if not sum(each):
                return None
            won = [_share_of(vote, pair) for vote in votes]
            share = sum(w * s for w, s in zip(each, won, strict=True)) / sum(each)
            weight = fmean(each)
        if self.usual_votes is not None:
            weight *= pair.votes / self.usual_votes
        margin = margin_of(pair, share)
        return PreferencePair(pair.first, pair.second, share, margin, weight, pair.strength)


def margin_of(pair: TrainingPair, share: float | None = None) -> float:
    """Return by how much the winner should lead: 0 if negligible, 1 if strong, less if split."""
    if pair.strength is None:
        return 0.0
    share = pair.share if share is None else share
    return (pair.strength - 1) / (STRENGTHS - 1) * abs(2 * share - 1)


def _judgments(one: FrozenRow) -> int:
    """Count the judgments behind a row's ratings or thumbs; each is about all its completions."""
    return max(1, len(one.row.judgment_ids))


def _share_of(vote: PlainVote, pair: TrainingPair) -> float:
    first, second = vote.ranking.ranks[pair.first], vote.ranking.ranks[pair.second]
    return 0.5 if first == second else float(first < second)
