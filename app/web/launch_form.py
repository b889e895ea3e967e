"""The form that plans a round: its fields, filled in from a plan and converted back to one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import model_validator

from app.domain import launch_sizes
from app.domain.allowed_servers import AllowedServers
from app.domain.launch_choice import ChoiceName, LaunchChoice
from app.domain.launch_sizes import ProjectData
from app.domain.plan import Algorithm, EvaluationPlan, PolicyPlan, RoundPlan, SftPlan, Start
from app.web import choice_fields, gate_fields, judge_fields, machine_fields, reward_fields
from app.web.choice_fields import ChoiceFields
from app.web.gate_fields import GateFields
from app.web.judge_fields import JudgeFields
from app.web.machine_fields import MachineFields
from app.web.reward_fields import RewardFields

CHOSEN_FIELDS: Final = frozenset(
    {
        *("filled_from", "prompts", "heldout_prompts", "candidates", "overlap"),
        *("sft_search_share", "reward_search_share", "policy_prompts", "policy_steps_least"),
        "evaluation_prompts",
    }
)
"""The fields that a choice fills in."""


class LaunchForm(RewardFields, MachineFields, JudgeFields, GateFields, ChoiceFields):
    """The plan of a round in form fields; `asked` is sent by the form, not by a link to it."""

    asked: bool = False
    choice: ChoiceName = ChoiceName.BALANCED
    filled_from: ChoiceName | None = None  # the choice that the other fields were filled in from
    count: bool = False  # sent by the button that only recalculates
    prompts: int = 400
    heldout_prompts: int = 100
    candidates: int = 4
    policy_share: float = RoundPlan().policy_share
    comparisons_per_prompt: int = 1
    overlap: int | None = None
    temperature: float = 1.0
    max_new_tokens: int = 128
    preflight: bool = False
    use_imported: bool = False
    sft: bool = False
    sft_epochs: int = 3
    sft_batch_size: int = 64
    reward_epochs: int | None = None
    reward_batch_size: int = 16
    reward_rate: float | None = None
    sft_rate: float | None = None
    sft_search_share: float = 0.2
    reward_search_share: float = 0.2
    ensemble: int = 1
    label_value: bool = False
    policy_prompts: int = 2000
    policy_epochs: int | None = None
    policy_steps_least: int = 20
    policy_batch_size: int = 64
    policy_rate: float = 1.0
    algorithm: Algorithm = Algorithm.PPO
    samples: int = PolicyPlan().samples
    kl_coefficient: float = 0.1
    kl_budget: float | None = None
    fresh_votes: int = 0
    start: Start = Start.LAST
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
        chosen = (plan.choice or LaunchChoice()).name
        return cls(
            choice=chosen,
            filled_from=chosen,
            prompts=plan.prompts,
            heldout_prompts=plan.heldout_prompts,
            candidates=plan.candidates,
            policy_share=plan.policy_share,
            comparisons_per_prompt=plan.comparisons_per_prompt,
            overlap=plan.overlap,
            temperature=plan.sampling.temperature,
            max_new_tokens=plan.sampling.max_new_tokens,
            preflight=plan.preflight.is_on,
            use_imported=plan.use_imported,
            sft=plan.sft is not None,
            sft_epochs=sft.epochs,
            sft_batch_size=sft.batch_size,
            sft_rate=sft.learning_rate,
            sft_search_share=sft.search_share,
            reward_search_share=plan.reward.search_share,
            reward_epochs=plan.reward.epochs,
            reward_batch_size=plan.reward.batch_size,
            reward_rate=plan.reward.learning_rate,
            ensemble=plan.reward.ensemble,
            label_value=plan.reward.label_value,
            policy_prompts=plan.policy.prompts,
            policy_epochs=plan.policy.epochs,
            policy_steps_least=plan.policy.steps_least,
            policy_batch_size=plan.policy.batch_size,
            policy_rate=round(plan.policy.learning_rate / base.policy.learning_rate, 4),
            algorithm=plan.policy.algorithm,
            samples=plan.policy.samples,
            kl_coefficient=plan.policy.kl_coefficient,
            kl_budget=plan.policy.kl_budget,
            fresh_votes=plan.policy.fresh_votes,
            start=plan.policy.start,
            evaluation_prompts=plan.evaluation.prompts,
            evaluation_overlap=plan.evaluation.overlap,
            **reward_fields.of(plan.reward),
            **machine_fields.of(plan),
            **judge_fields.of(plan),
            **gate_fields.of(plan),
            **choice_fields.of(plan),
        )

    def plan(self, before: RoundPlan) -> RoundPlan:
        """Return the plan of the form; what the form does not cover is kept from `before`.

        Raises:
            Invalid: a value breaks a rule.
        """
        base = RoundPlan()
        sft = replace(
            before.sft or SftPlan(),
            epochs=self.sft_epochs,
            batch_size=self.sft_batch_size,
            learning_rate=self.sft_rate,
            search_share=self.sft_search_share,
        )
        plan = replace(
            before,
            prompts=self.prompts,
            heldout_prompts=self.heldout_prompts,
            candidates=self.candidates,
            policy_share=self.policy_share,
            comparisons_per_prompt=self.comparisons_per_prompt,
            overlap=self.overlap,
            use_imported=self.use_imported,
            sampling=replace(
                before.sampling, temperature=self.temperature, max_new_tokens=self.max_new_tokens
            ),
            preflight=replace(before.preflight, is_on=self.preflight),
            choose=self.choosing(),
            sft=sft if self.sft else None,
            reward=replace(
                self.reward(before.reward),
                epochs=self.reward_epochs,
                batch_size=self.reward_batch_size,
                ensemble=self.ensemble,
                label_value=self.label_value,
                learning_rate=self.reward_rate,
                search_share=self.reward_search_share,
            ),
            policy=replace(
                before.policy,
                prompts=self.policy_prompts,
                epochs=self.policy_epochs,
                steps_least=self.policy_steps_least,
                batch_size=self.policy_batch_size,
                learning_rate=base.policy.learning_rate * self.policy_rate,
                algorithm=self.algorithm,
                samples=self.samples,
                kl_coefficient=self.kl_coefficient,
                kl_budget=self.kl_budget,
                fresh_votes=self.fresh_votes,
                start=self.start,
            ),
            evaluation=EvaluationPlan(
                self.evaluation_prompts, self.evaluation_overlap, before.evaluation.frozen_share
            ),
        )
        return self.with_gates(self.with_judges(self.with_machines(plan)))

    def chosen_plan(self, before: RoundPlan, data: ProjectData) -> RoundPlan:
        """Return the plan of the form with its choice and what was changed of it.

        If another choice was taken since the fields were filled in, those that were not changed
        take the settings of that one.

        Raises:
            Invalid: a value breaks a rule.
        """
        plan = self.plan(before)
        if self.is_switched and self.filled_from is not None:
            plan = launch_sizes.moved(plan, self.filled_from, self.choice, data)
        return launch_sizes.recorded(plan, self.choice, data)

    @property
    def is_switched(self) -> bool:
        """Whether another choice was taken since the fields were filled in."""
        return self.filled_from is not None and self.choice != self.filled_from

    def problems(self, before: RoundPlan, servers: AllowedServers) -> dict[str, str]:
        """Return a message for each invalid field that the form can mark."""
        is_full = before.sft.is_full if before.sft else None
        sft = SftPlan(is_full=is_full) if self.sft else None
        machine = self.machine_problems(sft, servers)
        return machine | self.reward_problems() | self.choosing_problems()
