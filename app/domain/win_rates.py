"""Win rates of a new policy against an old one, from votes and from a reward model's scores.

Every prompt counts the same, however often it was judged, and intervals are clustered by prompt.
Prompts on which both policies wrote the same are ties without a vote. Which judgments count is left
to the caller.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.domain import jackknife
from app.domain.measures import Interval, Measure, Undefined

NOT_JUDGED = "nothing has been judged yet"
ALL_BOTH_BAD = "every judgment is “both bad”, which prefers neither"
ALL_TIES = "every vote is a tie"
EQUAL_SCORES = "its scores are equal wherever people chose"


@dataclass(frozen=True, slots=True)
class WinTally:
    """Votes by outcome for the new policy. A tie counts as half a win; `both_bad` is not a vote."""

    wins: int
    ties: int
    losses: int
    both_bad: int
    identical: int  # prompts with identical completions: ties without a vote


@dataclass(frozen=True, slots=True)
class ArbiterReport:
    """A reward model's verdict on the same completions, and its agreement with the labelers.

    `share` is the new policy's share of wins. `agreement` is None where it is not defined, for the
    `reason`; `compared` votes are behind it.
    """

    name: str
    share: float
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    compared: int
    reason: str


@dataclass(frozen=True, slots=True)
class EvaluationResults:
    """The new policy's share of wins with an interval by prompt, votes, arbiter and lengths.

    `at_least_as_good` is the share of wins and ties; prompts with identical completions are ties in
    both shares. `reason` says why there is no share, and `no_interval` why there is no interval
    although there is a share. `decided_by` names the AI judge whose verdicts these are; empty for
    people.
    """

    tally: WinTally
    prompts: int
    judged: int
    share: float | None
    low: float | None
    high: float | None
    reason: str
    no_interval: str
    at_least_as_good: float | None
    at_least_as_good_low: float | None
    at_least_as_good_high: float | None
    arbiter: ArbiterReport | None
    length_new: float | None  # mean characters
    length_old: float | None
    decided_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the results as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BlindComparison:
    """One comparison of an evaluation with its votes."""

    prompt_id: int
    new_id: int  # completion ids
    old_id: int
    votes: tuple[float, ...]  # 1 for the new policy, 0 for the old, ½ for a tie
    both_bad: int


def results(
    comparisons: Sequence[BlindComparison],
    identical: Sequence[int],
    *,
    arbiter: str,
    scores: Mapping[str, float],
    lengths: Mapping[str, float],
    decided_by: str = "",
) -> EvaluationResults:
    """Measure the win rate of the new policy.

    Args:
        comparisons: What labelers were asked, with the votes that count.
        identical: The prompts on which both policies wrote the same.
        arbiter: The name of the reward model.
        scores: Its scores, by completion id.
        lengths: The mean lengths of both policies' completions, `new` and `old`.
        decided_by: The AI judge that the votes are of; empty for people.
    """
    votes = [vote for comparison in comparisons for vote in comparison.votes]
    both_bad = sum(comparison.both_bad for comparison in comparisons)
    share = _by_prompt(comparisons, identical, 0.5, lambda vote: vote)
    as_good = _by_prompt(comparisons, identical, 1.0, lambda vote: float(vote > 0))
    low, high = _bounds(share)
    as_good_low, as_good_high = _bounds(as_good)
    return EvaluationResults(
        tally=WinTally(
            wins=votes.count(1.0),
            ties=votes.count(0.5),
            losses=votes.count(0.0),
            both_bad=both_bad,
            identical=len(identical),
        ),
        prompts=len({comparison.prompt_id for comparison in comparisons} | set(identical)),
        judged=len(votes),
        share=_value(share),
        low=low,
        high=high,
        reason="" if votes or identical else ALL_BOTH_BAD if both_bad else NOT_JUDGED,
        no_interval=_no_interval(share, votes),
        at_least_as_good=_value(as_good),
        at_least_as_good_low=as_good_low,
        at_least_as_good_high=as_good_high,
        arbiter=_arbiter(arbiter, scores, comparisons),
        length_new=lengths.get("new"),
        length_old=lengths.get("old"),
        decided_by=decided_by,
    )


def _by_prompt(
    comparisons: Iterable[BlindComparison],
    identical: Sequence[int],
    tie: float,
    worth: Callable[[float], float],
) -> Measure:
    by_prompt: dict[int, list[float]] = defaultdict(list)
    for comparison in comparisons:
        by_prompt[comparison.prompt_id].extend(worth(vote) for vote in comparison.votes)
    shares = [sum(worths) / len(worths) for worths in by_prompt.values() if worths]
    return jackknife.share([*shares, *(tie for _ in identical)], nothing=NOT_JUDGED)


def _no_interval(share: Measure, votes: Sequence[float]) -> str:
    if isinstance(share.value, Undefined) or isinstance(share.interval, Interval):
        return ""
    return ALL_TIES if votes and set(votes) == {0.5} else share.interval.reason


def _arbiter(
    name: str, scores: Mapping[str, float], comparisons: Sequence[BlindComparison]
) -> ArbiterReport | None:
    gaps = [
        (comparison, scores[str(comparison.new_id)] - scores[str(comparison.old_id)])
        for comparison in comparisons
        if str(comparison.new_id) in scores and str(comparison.old_id) in scores
    ]
    if not gaps:
        return None
    choices = [
        (comparison.prompt_id, gap, vote)
        for comparison, gap in gaps
        for vote in comparison.votes
        if vote != 0.5
    ]
    compared = [(prompt, (gap > 0) == (vote == 1.0)) for prompt, gap, vote in choices if gap != 0]
    reason = EQUAL_SCORES if choices else _no_choice([comparison for comparison, _ in gaps])
    agreement = jackknife.share(
        [float(is_same) for _, is_same in compared],
        jackknife.numbered(prompt for prompt, _ in compared),
        nothing=reason,
    )
    low, high = _bounds(agreement)
    return ArbiterReport(
        name=name,
        share=sum(_won(gap) for _, gap in gaps) / len(gaps),
        agreement=_value(agreement),
        agreement_low=low,
        agreement_high=high,
        compared=len(compared),
        reason="" if compared else reason,
    )


def _no_choice(comparisons: Sequence[BlindComparison]) -> str:
    if any(comparison.votes for comparison in comparisons):
        return ALL_TIES
    return ALL_BOTH_BAD if any(comparison.both_bad for comparison in comparisons) else NOT_JUDGED


def _won(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _value(measure: Measure) -> float | None:
    return None if isinstance(measure.value, Undefined) else measure.value


def _bounds(measure: Measure) -> tuple[float | None, float | None]:
    if isinstance(measure.interval, Undefined):
        return None, None
    return measure.interval.low, measure.interval.high
