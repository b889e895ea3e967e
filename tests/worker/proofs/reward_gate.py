"""The gate that a round's reward model has to pass, on the votes of a simulated desk."""

from collections.abc import Sequence
from statistics import fmean

from app.demo import truth
from app.domain import jackknife
from app.domain.gates.learning import RewardFigures
from tests.worker.proofs.desk import Desk, Judged, RewardModel, longer_wins, votes


def reason(
    desk: Desk, model: RewardModel, rows: Sequence[Judged], watched: Sequence[Judged]
) -> str:
    """Return why a round would wait instead of training a policy; empty if it would not.

    Args:
        desk: of the labelers.
        model: fitted to the judged rows.
        rows: what it learned from.
        watched: held-out comparisons, whose single votes are what counts.

    """
    longer = longer_wins(rows)
    by_model = votes(watched, [one.scores for one in desk.scored(model, watched)])
    sign = 1.0 if longer else -1.0
    lengths = [tuple(sign * len(one.token_ids) for one in row.completions) for row in watched]
    by_length = votes(watched, lengths)
    accuracy = jackknife.share(by_model)
    over = jackknife.mean([one - other for one, other in zip(by_model, by_length, strict=True)])
    interval, lead = truth.bounds(accuracy), truth.bounds(over)
    figures = RewardFigures(
        comparisons=len(by_model),
        accuracy=truth.value(accuracy),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        length_rule="longer" if longer else "shorter",
        length_accuracy=fmean(by_length),
        over_length_low=lead[0] if lead else None,
        wanted=len(watched),
        trained=len(rows),
    )
    return figures.verdict(desk.plan).reason
