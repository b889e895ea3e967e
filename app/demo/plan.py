"""How large the first run is and how its models learn: sizes and settings, found by trying.

Chosen so that on two cores each stage takes about the time stated beside it, and so that for both
the default and the reversed taste the reward model beats a rule about length and the new policy
the old. `docs/log.md` has the figures.
"""

from dataclasses import dataclass

from app.domain.plan import (
    EvaluationPlan,
    PolicyPlan,
    RewardPlan,
    RoundPlan,
    Sampling,
    SftPlan,
)


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Sizes and learning settings of the first run."""

    seed: int = 1
    taste: str = "default"

    # Starter model from scratch, about 70 s.
    demonstrations: int = 7000
    sft_batch_size: int = 32
    sft_steps: int = 240
    sft_learning_rate: float = 3e-3

    # Candidates and judgments; sampling takes about 15 s.
    prompts: int = 400
    heldout_prompts: int = 60
    test_prompts: int = 240
    candidates: int = 4
    max_new_tokens: int = 64
    overlap: int = 3

    # The panel.
    labelers: int = 3
    flip_rate: float = 0.15
    temperature: float = 0.2

    # Reward model, about 40 s.
    reward_epochs: int = 3
    reward_batch_size: int = 8
    reward_learning_rate: float = 3e-3
    ensemble: int = 1
    uncertainty_penalty: float = 0.0

    # PPO, about 110 s.
    policy_steps: int = 30
    episodes: int = 64
    policy_learning_rate: float = 3e-4
    kl_coefficient: float = 0.1

    @property
    def all_prompts(self) -> int:
        """Return how many distinct questions the run takes from the grammar."""
        asked = self.prompts + self.heldout_prompts + self.test_prompts
        return self.demonstrations + asked

    def round_plan(self) -> RoundPlan:
        """Return the plan of the run's one round."""
        return RoundPlan(
            prompts=self.prompts,
            heldout_prompts=self.heldout_prompts,
            candidates=self.candidates,
            k=self.candidates,
            overlap=self.overlap,
            mix_share=0.0,
            seed=self.seed,
            sampling=Sampling(max_new_tokens=self.max_new_tokens, batch_size=128),
            sft=SftPlan(
                epochs=-(-self.sft_steps * self.sft_batch_size // self.demonstrations),
                batch_size=self.sft_batch_size,
                max_steps=self.sft_steps,
                learning_rate=self.sft_learning_rate,
            ),
            reward=RewardPlan(
                epochs=self.reward_epochs,
                batch_size=self.reward_batch_size,
                learning_rate=self.reward_learning_rate,
                ensemble=self.ensemble,
            ),
            policy=PolicyPlan(
                prompts=self.prompts,
                epochs=-(-self.policy_steps * self.episodes // self.prompts),
                batch_size=self.episodes,
                max_steps=self.policy_steps,
                learning_rate=self.policy_learning_rate,
                kl_coefficient=self.kl_coefficient,
                uncertainty_penalty=self.uncertainty_penalty,
            ),
            evaluation=EvaluationPlan(prompts=self.test_prompts),
        )
