"""The form that plans a round: its fields, filled in from a plan and converted back to one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import model_validator

from app.domain.plan import Algorithm, EvaluationPlan, PolicyPlan, RoundPlan, SftPlan, Start
from app.web import judge_fields, machine_fields, reward_fields
from app.web.judge_fields import JudgeFields
from app.web.machine_fields import MachineFields
from app.web.reward_fields import RewardFields


class LaunchForm(RewardFields, MachineFields, JudgeFields):
    """The plan of a round in form fields; `asked` is sent by the form, not by a link to it."""

    asked: bool = False
    count: bool = False  # sent by the button that only recalculates
    prompts: int = 400
    heldout_prompts: int = 50
    candidates: int = 4
    comparisons_per_prompt: int = 1
    overlap: int | None = None
    temperature: float = 1.0
    max_new_tokens: int = 128
    preflight: bool = False
    use_imported: bool = False
    sft: bool = False
    sft_epochs: int = 3
    sft_batch_size: int = 64
    reward_epochs: int = 1
    reward_batch_size: int = 16
    reward_rate: float = 1.0
    ensemble: int = 1
    policy_prompts: int = 2000
    policy_epochs: int = 1
    policy_batch_size: int = 64
    policy_rate: float = 1.0
    algorithm: Algorithm = Algorithm.PPO
    samples: int = PolicyPlan().samples
    kl_coefficient: float = 0.1
    kl_budget: float | None = None
    start: Start = Start.SFT
    evaluation_prompts: int = 200
    evaluation_overlap: int = 1

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        """Treat an empty field as one that was not sent."""
        if not isinstance(given, Mapping):
            return given
        return {name: value for name, value in given.items() if value != ""}

    @classmethod
    def of(cls, plan: RoundPlan) -> "LaunchForm":
        """Return the form filled in from a plan."""
        sft = plan.sft or SftPlan()
        base = RoundPlan()
        return cls(
            prompts=plan.prompts,
            heldout_prompts=plan.heldout_prompts,
            candidates=plan.candidates,
            comparisons_per_prompt=plan.comparisons_per_prompt,
            overlap=plan.overlap,
            temperature=plan.sampling.temperature,
            max_new_tokens=plan.sampling.max_new_tokens,
            preflight=plan.preflight.is_on,
            use_imported=plan.use_imported,
            sft=plan.sft is not None,
            sft_epochs=sft.epochs,
            sft_batch_size=sft.batch_size,
            reward_epochs=plan.reward.epochs,
            reward_batch_size=plan.reward.batch_size,
            reward_rate=round(plan.reward.learning_rate / base.reward.learning_rate, 4),
            ensemble=plan.reward.ensemble,
            policy_prompts=plan.policy.prompts,
            policy_epochs=plan.policy.epochs,
            policy_batch_size=plan.policy.batch_size,
            policy_rate=round(plan.policy.learning_rate / base.policy.learning_rate, 4),
            algorithm=plan.policy.algorithm,
            samples=plan.policy.samples,
            kl_coefficient=plan.policy.kl_coefficient,
            kl_budget=plan.policy.kl_budget,
            start=plan.policy.start,
            evaluation_prompts=plan.evaluation.prompts,
            evaluation_overlap=plan.evaluation.overlap,
            **reward_fields.of(plan.reward),
            **machine_fields.of(plan),
            **judge_fields.of(plan),
        )

    def plan(self, before: RoundPlan) -> RoundPlan:
        """Return the plan of the form; what the form does not cover is kept from `before`.

        Raises:
            Invalid: a value breaks a rule.
        """
        base = RoundPlan()
        sft = replace(
            before.sft or SftPlan(), epochs=self.sft_epochs, batch_size=self.sft_batch_size
        )
        plan = replace(
            before,
            prompts=self.prompts,
            heldout_prompts=self.heldout_prompts,
            candidates=self.candidates,
            comparisons_per_prompt=self.comparisons_per_prompt,
            overlap=self.overlap,
            use_imported=self.use_imported,
            sampling=replace(
                before.sampling, temperature=self.temperature, max_new_tokens=self.max_new_tokens
            ),
            preflight=replace(before.preflight, is_on=self.preflight),
            sft=sft if self.sft else None,
            reward=replace(
                self.reward(before.reward),
                epochs=self.reward_epochs,
                batch_size=self.reward_batch_size,
                ensemble=self.ensemble,
                learning_rate=base.reward.learning_rate * self.reward_rate,
            ),
            policy=replace(
                before.policy,
                prompts=self.policy_prompts,
                epochs=self.policy_epochs,
                batch_size=self.policy_batch_size,
                learning_rate=base.policy.learning_rate * self.policy_rate,
                algorithm=self.algorithm,
                samples=self.samples,
                kl_coefficient=self.kl_coefficient,
                kl_budget=self.kl_budget,
                start=self.start,
            ),
            evaluation=EvaluationPlan(
                self.evaluation_prompts, self.evaluation_overlap, before.evaluation.frozen_share
            ),
        )
        return self.with_judges(self.with_machines(plan))

    def problems(self, before: RoundPlan) -> dict[str, str]:
        """Return a message for each invalid field that the form can mark."""
        is_full = before.sft.is_full if before.sft else None
        sft = SftPlan(is_full=is_full) if self.sft else None
        return self.machine_problems(sft) | self.reward_problems()
