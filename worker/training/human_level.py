"""How a reward model does beside people, on the same comparisons and against the same single votes.

The human level is how well one labeler predicts another; the noise ceiling lies in a band that
two-way agreement alone leaves open. All three lines are computed from the same frozen rows.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from app.domain import agreement, bootstrap
from app.domain.measures import Measure, Undefined
from app.domain.noise_ceiling import Levels
from app.domain.ranking import Ranking, Strength
from app.domain.votes import Vote
from app.formats.training_rows import FrozenRow, PlainVote

Scores = Mapping[int, Sequence[float]]
"""A reward model's score of each completion, by comparison."""


def lines(rows: Sequence[FrozenRow], scores: Scores, *, seed: int = 0) -> dict[str, Any]:
    """Return the model's accuracy on single votes, the human level and the ceiling's band."""
    votes = [_vote(one, vote) for one in rows for vote in one.votes]
    people = agreement.report(votes, seed=seed)
    sided = {
        one.row.comparison_id: _sided(one.votes, scores[one.row.comparison_id]) for one in rows
    }
    shares = [sum(hits) / len(hits) for hits in sided.values() if hits]
    accuracy = bootstrap.share(shares, seed=seed)
    return {
        "accuracy_on_votes": _measure(accuracy),
        "human_level": _measure(people.decided),
        "alpha": _measure(people.alpha),
        "ceiling": asdict(people.levels)
        if isinstance(people.levels, Levels)
        else {"undefined": people.levels.reason},
        "comparisons": len(rows),
        "votes": len(votes),
    }


def by_labeler(rows: Sequence[FrozenRow], scores: Scores) -> dict[str, dict[str, float]]:
    """Return how often the model sides with each labeler, with the number of votes."""
    hits: dict[str, list[float]] = defaultdict(list)
    for one in rows:
        for vote in one.votes:
            hits[vote.labeler].extend(_sided([vote], scores[one.row.comparison_id]))
    return {
        name: {"accuracy": sum(mine) / len(mine), "votes": len(mine)}
        for name, mine in sorted(hits.items())
        if mine
    }


def _sided(votes: Sequence[PlainVote], scores: Sequence[float]) -> list[float]:
    """Return 1 for each strict preference the scores share, 0 for others, ½ at equal scores."""
    return [
        _agrees(vote.ranking, scores, first, second)
        for vote in votes
        for first, second in combinations(range(len(scores)), 2)
        if vote.ranking.ranks[first] != vote.ranking.ranks[second]
    ]


def _agrees(ranking: Ranking, scores: Sequence[float], first: int, second: int) -> float:
    if scores[first] == scores[second]:
        return 0.5
    return float((scores[first] > scores[second]) == (ranking.ranks[first] < ranking.ranks[second]))


def _vote(one: FrozenRow, vote: PlainVote) -> Vote:
    strength = None if vote.strength is None else Strength(vote.strength)
    return Vote(one.row.comparison_id, vote.labeler, vote.ranking, strength)


def _measure(measure: Measure) -> dict[str, Any]:
    if isinstance(measure.value, Undefined):
        return {"value": None, "reason": measure.value.reason, "n": measure.n}
    interval = measure.interval
    low, high = (None, None) if isinstance(interval, Undefined) else (interval.low, interval.high)
    return {"value": measure.value, "low": low, "high": high, "n": measure.n}
