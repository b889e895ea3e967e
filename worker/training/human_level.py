"""A reward model's accuracy compared with people's, on the same comparisons and single votes.

The human level is how well one labeler predicts another; the noise ceiling is known only up to a
band, because two-way agreement does not determine it. All three come from the same frozen rows.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from app.domain import agreement, jackknife
from app.domain.measures import Measure, Undefined
from app.domain.noise_ceiling import Levels
from app.domain.ranking import Ranking, Strength
from app.domain.votes import Vote
from app.formats.training_rows import FrozenRow, PlainVote

Scores = Mapping[int, Sequence[float]]
"""A reward model's score of each completion, by comparison."""


def lines(rows: Sequence[FrozenRow], scores: Scores) -> dict[str, Any]:
    """Return the model's accuracy on single votes, the human level and the ceiling's band.

    Each comparison counts the same; intervals are clustered by prompt.
    """
    votes = [_vote(frozen, vote) for frozen in rows for vote in frozen.votes]
    people = agreement.report(votes)
    hits_of = {
        frozen.row.comparison_id: _sided(frozen.votes, scores[frozen.row.comparison_id])
        for frozen in rows
    }
    prompt_of = {frozen.row.comparison_id: frozen.row.prompt.id for frozen in rows}
    judged = {name: sum(hits) / len(hits) for name, hits in hits_of.items() if hits}
    prompts = jackknife.numbered(prompt_of[name] for name in judged)
    accuracy = jackknife.share(list(judged.values()), prompts)
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


def hits(rows: Sequence[FrozenRow], scores: Scores) -> dict[int, float]:
    """Return the share of each comparison's votes that the scores predict, where it is defined."""
    sided = {
        frozen.row.comparison_id: _sided(frozen.votes, scores[frozen.row.comparison_id])
        for frozen in rows
        if frozen.row.comparison_id in scores
    }
    return {name: sum(each) / len(each) for name, each in sided.items() if each}


def against_length(
    rows: Sequence[FrozenRow], scores: Scores, lengths: Scores, rule: str
) -> dict[str, Any]:
    """Return the accuracy of a length rule on the same votes, and the model's lead over it.

    Args:
        rows: held-out comparisons.
        scores: of the model.
        lengths: higher where the rule prefers a completion.
        rule: its name.

    """
    own, by_rule, prompt_ids = [], [], []
    for frozen in rows:
        hits = _sided(frozen.votes, scores[frozen.row.comparison_id])
        if hits:
            rule_hits = _sided(frozen.votes, lengths[frozen.row.comparison_id])
            own.append(sum(hits) / len(hits))
            by_rule.append(sum(rule_hits) / len(rule_hits))
            prompt_ids.append(frozen.row.prompt.id)
    lead = [model - length for model, length in zip(own, by_rule, strict=True)]
    return {
        "length_rule": rule,
        "length_accuracy": sum(by_rule) / len(by_rule) if by_rule else None,
        "over_length": _measure(jackknife.mean(lead, jackknife.numbered(prompt_ids))),
    }


def by_labeler(rows: Sequence[FrozenRow], scores: Scores) -> dict[str, dict[str, float]]:
    """Return how often the model agrees with each labeler, with the number of votes."""
    hits: dict[str, list[float]] = defaultdict(list)
    for frozen in rows:
        for vote in frozen.votes:
            hits[vote.labeler].extend(_sided([vote], scores[frozen.row.comparison_id]))
    return {
        name: {"accuracy": sum(matches) / len(matches), "votes": len(matches)}
        for name, matches in sorted(hits.items())
        if matches
    }


def _sided(votes: Sequence[PlainVote], scores: Sequence[float]) -> list[float]:
    """Return 1 for each strict preference that the scores match, else 0, or ½ at equal scores."""
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


def _vote(frozen: FrozenRow, vote: PlainVote) -> Vote:
    strength = None if vote.strength is None else Strength(vote.strength)
    return Vote(
        frozen.row.comparison_id, vote.labeler, vote.ranking, strength, frozen.row.prompt.id
    )


def _measure(measure: Measure) -> dict[str, Any]:
    if isinstance(measure.value, Undefined):
        return {"value": None, "reason": measure.value.reason, "n": measure.n}
    interval = measure.interval
    low, high = (None, None) if isinstance(interval, Undefined) else (interval.low, interval.high)
    return {"value": measure.value, "low": low, "high": high, "n": measure.n}
