"""The weight of each judgment in a reward model's training, as set in the round's plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Self

from app.domain.reward_parts import Weighing, WeightSource
from app.domain.reward_plan import RewardPlan
from app.domain.vote_shares import TrainingPair
from app.errors import Invalid
from app.formats.training_rows import FrozenRow, PlainVote
from worker.rlhf.core.examples import AbsoluteFeedback, PreferencePair

STRENGTHS = 4


@dataclass(frozen=True, slots=True)
class VoteWeights:
    """Weights of labelers, 1 by default, and the numbers of votes that weigh 1, if any.

    A labeler's weight changes the vote share; the mean weight over its votes multiplies the pair's
    weight. A pair whose votes all weigh 0 is dropped. A pair with `usual_votes` votes weighs 1, and
    so do ratings and thumbs with `usual_judgments` judgments behind them. The weights of labelers
    do not change what a lead has settled; `remarks` say where the project's weights do not apply.
    """

    labelers: Mapping[str, float] = field(default_factory=dict)
    usual_votes: float | None = None
    usual_judgments: float | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: RewardPlan, rows: Sequence[FrozenRow]) -> Self:
        """Return the weights of a plan on its training rows.

        Weights that the plan took from the project apply where they can; the remarks say where not.

        Raises:
            Invalid: the plan has weights of its own, and a labeler is not in the data, or the rows
                have ratings or thumbs, which are stored as means over labelers.
        """
        labelers = {
            labeler_weight.labeler: labeler_weight.weight for labeler_weight in plan.labelers or ()
        }
        is_project_wide = plan.labelers_from is WeightSource.PROJECT
        remarks = _remarks(labelers, rows) if is_project_wide else ()
        if not is_project_wide:
            _refuse_unusable(labelers, rows)
        if plan.weighing is not Weighing.VOTES:
            return cls(labelers, remarks=remarks)
        votes = [pair.votes for row in rows for pair in row.row.pairs]
        judgments = [_judgments(row) for row in rows if row.row.absolutes]
        return cls(
            labelers,
            fmean(votes) if votes else None,
            fmean(judgments) if judgments else None,
            remarks,
        )

    def pairs(self, frozen: FrozenRow) -> tuple[PreferencePair, ...]:
        """Return a row's pairs with their shares, margins and weights."""
        return tuple(
            weighted
            for pair in frozen.row.pairs
            if (weighted := self._pair(pair, frozen)) is not None
        )

    def absolutes(self, frozen: FrozenRow) -> tuple[AbsoluteFeedback, ...]:
        """Return the ratings and thumbs of a row's completions, with their weight."""
        weight = 1.0 if self.usual_judgments is None else _judgments(frozen) / self.usual_judgments
        return tuple(
            AbsoluteFeedback(absolute.ratings, absolute.thumb, weight)
            for absolute in frozen.row.absolutes
        )

    def _pair(self, pair: TrainingPair, frozen: FrozenRow) -> PreferencePair | None:
        share, weight, votes = pair.share, 1.0, (*frozen.votes, *frozen.ai_votes)
        if self.labelers and votes and not (frozen.row.absolutes or frozen.row.is_settled):
            weights = [self.labelers.get(vote.labeler, 1.0) for vote in votes]
            if not sum(weights):
                return None
            won = [_share_of(vote, pair) for vote in votes]
            share = sum(w * s for w, s in zip(weights, won, strict=True)) / sum(weights)
            weight = fmean(weights)
        if self.usual_votes is not None:
            weight *= pair.votes / self.usual_votes
        margin = margin_of(pair, share)
        return PreferencePair(pair.first, pair.second, share, margin, weight, pair.strength)


def margin_of(pair: TrainingPair, share: float | None = None) -> float:
    """Return the winner's margin: 0 for negligible, 1 for strong, reduced by split votes.

    Without a strength, it is the margin of an imported file, in the file's own unit.
    """
    share = pair.share if share is None else share
    if pair.strength is not None:
        return (pair.strength - 1) / (STRENGTHS - 1) * abs(2 * share - 1)
    return max(pair.margin or 0.0, 0.0) * abs(2 * share - 1)


def _refuse_unusable(labelers: Mapping[str, float], rows: Sequence[FrozenRow]) -> None:
    known = _voters(rows)
    for name in labelers:
        if name not in known:
            raise Invalid(
                f"the plan weighs labeler {name}, who has no vote; "
                f"labelers with votes: {', '.join(sorted(known)) or 'none'}"
            )
    if labelers and any(row.row.absolutes for row in rows):
        raise Invalid(
            "labelers can be weighted only for comparisons; ratings and thumbs are means over "
            "labelers"
        )


def _remarks(labelers: Mapping[str, float], rows: Sequence[FrozenRow]) -> tuple[str, ...]:
    """Say where the project's weights do not apply."""
    remarks = []
    absent = sorted(labelers.keys() - _voters(rows), key=lambda name: (len(name), name))
    if absent:
        verb = "has" if len(absent) == 1 else "have"
        remarks.append(
            f"{', '.join(absent)} {verb} a weight in the project but no vote in this round's "
            "training data; the weight has no effect"
        )
    absolute = sum(bool(row.row.absolutes) for row in rows)
    if labelers and absolute:
        remarks.append(
            f"labeler weights do not apply to the ratings or thumbs of {absolute} "
            f"comparison{'s' if absolute != 1 else ''}, which are means over labelers"
        )
    return tuple(remarks)


def _voters(rows: Sequence[FrozenRow]) -> set[str]:
    return {vote.labeler for row in rows for vote in row.votes}


def _judgments(frozen: FrozenRow) -> int:
    """Count the judgments behind a row's ratings or thumbs; each is about all its completions."""
    return max(1, len(frozen.row.judgment_ids))


def _share_of(vote: PlainVote, pair: TrainingPair) -> float:
    first, second = vote.ranking.ranks[pair.first], vote.ranking.ranks[pair.second]
    return 0.5 if first == second else float(first < second)
