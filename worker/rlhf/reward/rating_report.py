"""How well a reward model predicts held-out ratings, criterion by criterion.

Beside `reward_report`, which asks who beats whom: here the question is how good each is.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from worker.rlhf.core.examples import Ranking
from worker.rlhf.reward import criterion_heads, scoring, shared_prefix
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.ranking_loss import branches_of
from worker.rlhf.reward.scoring import AdapterReward


@dataclass(frozen=True, slots=True)
class RatingReport:
    """One criterion on held-out completions, in points of the rating.

    `rmse_of_mean` is that of always saying the training ratings' mean: what knowing nothing costs.
    `correlation` is Pearson's, 0 where either side does not vary.
    """

    criterion: str
    weight: float
    ratings: int
    rmse: float
    rmse_of_mean: float
    correlation: float

    def to_json(self) -> dict[str, object]:
        """Return plain data, for a manifest."""
        return asdict(self)


def report(
    predicted: Tensor, rankings: Sequence[Ranking], fitted: Criteria
) -> tuple[RatingReport, ...]:
    """Return a report for each criterion that was rated on the held-out rankings.

    Args:
        predicted: Standardised ratings of all completions, ranking by ranking, [N, C].
        rankings: Those completions' rankings.
        fitted: In the order of the columns.

    """
    wanted, is_rated, _ = criterion_heads.targets(rankings, fitted)
    found = []
    for place, each in enumerate(fitted):
        here = is_rated[:, place]
        if not here.any():
            continue
        said, meant = predicted[here, place].double(), wanted[here, place].double()
        found.append(
            RatingReport(
                each.name,
                each.weight,
                int(here.sum()),
                each.std * float((said - meant).square().mean().sqrt()),
                each.std * float(meant.square().mean().sqrt()),
                _correlation(said, meant),
            )
        )
    return tuple(found)


@torch.no_grad()
def predict(reward: AdapterReward, rankings: Sequence[Ranking], fitted: Criteria) -> Tensor:
    """Return the ensemble's mean prediction of every completion's ratings, [N, C]."""
    branches = [branches_of(ranking) for ranking in rankings]
    firsts = torch.tensor([0, *(len(each.completions) for each in branches)]).cumsum(0).tolist()
    found = torch.zeros(firsts[-1], len(fitted))
    for group in scoring.micro_batches(branches, reward.token_budget):
        layout = shared_prefix.lay_out(
            [branches[index] for index in group], reward.probe, pad_id=reward.roles.pad_id
        )
        places = [n for index in group for n in range(firsts[index], firsts[index + 1])]
        for name in reward.names:
            states = scoring.states_of(reward.roles, name, layout, autocast=reward.autocast)
            found[places] += criterion_heads.predict(reward.roles, name, fitted, states).cpu()
    return found / len(reward.names)


def _correlation(one: Tensor, other: Tensor) -> float:
    if float(one.std(correction=0)) == 0.0 or float(other.std(correction=0)) == 0.0:
        return 0.0
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])
