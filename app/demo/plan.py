"""The size of the demo and its training settings; each figure was found by experiment.

The settings are passed to the round as a plan, which `app.domain.plan` checks; nothing here knows
the learning core.
"""

from dataclasses import dataclass
from typing import Any

from app.domain.plan import (
    EvaluationPlan,
    PolicyPlan,
    RoundPlan,
    Sampling,
    SftPlan,
    Starter,
)
from app.domain.reward_plan import RewardPlan


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The size of the demo and the habits of its panel.

    The starter model is trained on the `demonstrations`; `prompts` are additional prompts without a
    response. As in every project, a tenth of all prompts is held out for measuring and another
    tenth for evaluation.
    """

    demonstrations: int = 7000
    prompts: int = 0
    k: int = 4
    overlap: int = 3
    labelers: int = 6
    flip_rate: float = 0.15
    temperature: float = 0.2
    tie_band: float = 0.1
    rounds: int = 1

    def round_plan(self, seed: int) -> dict[str, Any]:
        """Return the plan of a round."""
        return RoundPlan(
            prompts=400,
            heldout_prompts=60,
            candidates=self.k,
            k=self.k,
            overlap=self.overlap,
            seed=seed,
            sampling=Sampling(max_new_tokens=80, batch_size=128),
            sft=SftPlan(
                epochs=10,
                batch_size=16,  # small batches learn most in the given time
                max_steps=560,
                learning_rate=4e-3,
                starter=Starter(vocabulary=1024, width=192, layers=6, heads=6),
            ),
            reward=RewardPlan(epochs=4, batch_size=8, learning_rate=2e-3),
            policy=PolicyPlan(
                prompts=1280,
                epochs=2,
                batch_size=64,
                max_steps=30,
                learning_rate=5e-4,
                kl_coefficient=0.1,
                heldout_prompts=64,
            ),
            evaluation=EvaluationPlan(prompts=240, overlap=1),
        ).to_json()
