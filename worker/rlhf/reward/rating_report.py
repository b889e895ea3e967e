"""How well a reward model predicts held-out ratings, criterion by criterion.

`reward_report` covers the comparison of completions; this module covers absolute ratings.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.reward import criterion_heads, scoring, shared_prefix
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.ranking_loss import branches_of
from worker.rlhf.reward.scoring import AdapterReward


@dataclass(frozen=True, slots=True)
class CriterionReport:
    """Errors on the held-out ratings of one criterion, in rating points.

    `rmse_of_mean` is the error of always predicting the mean of the training ratings.
    `correlation` is Pearson's, 0 if either side is constant.
    """

    criterion: str
    weight: float
    ratings: int
    rmse: float
    rmse_of_mean: float
    correlation: float

    def to_json(self) -> dict[str, object]:
        """Return plain values for the manifest."""
        return asdict(self)


def report(
    predicted: Tensor, ranked_prompts: Sequence[RankedPrompt], criteria: Criteria
) -> tuple[CriterionReport, ...]:
    """Return a report for each criterion with held-out ratings.

    Args:
        predicted: Standardized ratings of all completions, prompt by prompt, [N, C].
        ranked_prompts: The prompts of these completions.
        criteria: In the order of the columns.
    """
    ratings, is_rated, _ = criterion_heads.targets(ranked_prompts, criteria)
    reports = []
    for column, criterion in enumerate(criteria):
        rows = is_rated[:, column]
        if not rows.any():
            continue
        prediction, rating = predicted[rows, column].double(), ratings[rows, column].double()
        reports.append(
            CriterionReport(
                criterion.name,
                criterion.weight,
                int(rows.sum()),
                criterion.std * float((prediction - rating).square().mean().sqrt()),
                criterion.std * float(rating.square().mean().sqrt()),
                _correlation(prediction, rating),
            )
        )
    return tuple(reports)


@torch.no_grad()
def predict(
    reward: AdapterReward, ranked_prompts: Sequence[RankedPrompt], criteria: Criteria
) -> Tensor:
    """Return the ensemble's mean prediction of every completion's ratings, [N, C]."""
    branches = [branches_of(ranked) for ranked in ranked_prompts]
    offsets = scoring.offsets(branches)
    predicted = torch.zeros(offsets[-1], len(criteria))
    for group in scoring.micro_batches(branches, reward.token_budget):
        layout = shared_prefix.lay_out(
            [branches[index] for index in group], reward.probe, pad_id=reward.roles.pad_id
        )
        rows = [row for index in group for row in range(offsets[index], offsets[index + 1])]
        for name in reward.names:
            states = scoring.states_of(reward.roles, name, layout, autocast=reward.autocast)
            member = criterion_heads.predict(reward.roles, name, criteria, states)
            predicted[rows] += member.cpu()
    return predicted / len(reward.names)


def _correlation(first: Tensor, second: Tensor) -> float:
    if float(first.std(correction=0)) == 0.0 or float(second.std(correction=0)) == 0.0:
        return 0.0
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])
