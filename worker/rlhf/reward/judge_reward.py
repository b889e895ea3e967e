"""The scores of a language model that judges responses, as a reward.

How the judge is asked is left to the caller. A response without a score, because the judge refused
or no reply could be read, counts as the mean of the others in its batch; the share is logged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch

from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.texts import TextExchange, Texts

UNSCORED: Final = "unscored"
"""The remark on responses without a score."""

MANY: Final = 8  # so many responses without any score are the judge's fault, not theirs


@dataclass(frozen=True, slots=True)
class JudgedResponse:
    """The score of a response, or None with the problem; tokens are None if not known."""

    score: float | None
    tokens: int | None = None
    problem: str = ""


Judging = Callable[[Sequence[TextExchange]], Sequence[JudgedResponse]]
"""Asks a judge about responses, and returns what it said of each, in order."""


@dataclass(frozen=True, slots=True)
class JudgeReward:
    """A judge's scores as the reward, on a scale that `fitted` sets."""

    judging: Judging
    texts: Texts
    scale: Scale = field(default_factory=Scale)

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the judge's score of each completion, raw and on the fitted scale.

        Raises:
            ValueError: if there is no completion, or none of many was scored in training.
        """
        judged = self._judged(branches)
        if len(judged) >= MANY and self.scale != Scale() and not _known(judged):
            raise _useless(judged)
        known = _known(judged)
        mean = sum(known) / len(known) if known else self.scale.mean
        raw = torch.tensor([mean if one.score is None else one.score for one in judged])
        return Scores(
            raw,
            self.scale(raw),
            shares={
                UNSCORED: torch.tensor([float(one.score is None) for one in judged]),
                "tokens-unknown": torch.tensor([float(one.tokens is None) for one in judged]),
            },
            amounts={"tokens": torch.tensor([float(one.tokens or 0) for one in judged])},
        )

    def fitted(self, branches: Sequence[Branches]) -> "JudgeReward":
        """Return the same reward, normalized to mean 0 and std 1 on these completions.

        Raises:
            ValueError: if the judge scored fewer than half of them.
        """
        judged = self._judged(branches)
        known = _known(judged)
        if 2 * len(known) < len(judged):
            raise _useless(judged)
        return replace(self, scale=Scale.fit(torch.tensor(known)))

    def _judged(self, branches: Sequence[Branches]) -> Sequence[JudgedResponse]:
        exchanges = list(self.texts.exchanges(branches))
        if not exchanges:
            raise ValueError("there is no completion to score")
        return self.judging(exchanges)


def _known(judged: Sequence[JudgedResponse]) -> list[float]:
    return [one.score for one in judged if one.score is not None]


def _useless(judged: Sequence[JudgedResponse]) -> ValueError:
    problems = [one.problem for one in judged if one.score is None]
    return ValueError(
        f"the judge gave no score for {len(problems)} of {len(judged)} responses; "
        f"the last problem: {problems[-1]}"
    )
