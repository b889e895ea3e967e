"""The reward model: from judgments as token ids to a fitted, normalized model in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.domain import kl_worth, length_limits, rate_search
from app.domain.length_limits import LongerWins
from app.domain.plan import RoundPlan
from app.domain.reward_parts import PairLoss
from app.errors import Invalid
from worker.rlhf.core.examples import PromptItem, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, saving
from worker.rlhf.model.roles import BASE, REFERENCE, SFT, LoraSettings, Roles
from worker.rlhf.reward import (
    criterion_heads,
    head_scale,
    reasoning,
    reward_model,
    reward_report,
    scoring,
)
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.ranking_loss import LossName, Terms, split_by_length
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import (
    adapter_shape,
    kl_limit,
    reward_loading,
    reward_parts,
    token_budgets,
    token_ids,
    trained_parameters,
    training_loop,
)
from worker.training.training_loop import LoopEnd, RunPlace

LOSSES: Mapping[PairLoss, LossName] = {
    PairLoss.PAIRS: "pairs",
    PairLoss.PLACKETT_LUCE: "plackett_luce",
}
NOTE = "fitting the judgments"
WARMUP_SHARE = 0.1
"""Of the steps. Without it, rates that are best in a short trial can end with equal scores."""

KeyedPrompt = tuple[str, Sequence[Mapping[str, Any]]]
"""A key, which seeds the response, and the turns of a prompt."""


@dataclass(frozen=True, slots=True)
class RewardInputs:
    """What a reward model learns from, and how.

    Attributes:
        plan: of the round; the reward part and the sampling settings are read.
        train: rankings to learn from.
        heldout: rankings for evaluation only.
        criterion_weights: of the criteria that were rated.
        prompts: on whose responses scores are scaled to mean 0 and standard deviation 1.
        instruction: joined to every prompt.
        comparisons: their number, from which the evaluation interval follows.
    """

    plan: RoundPlan
    train: Sequence[RankedPrompt]
    heldout: Sequence[RankedPrompt]
    criterion_weights: Mapping[str, float]
    prompts: Sequence[KeyedPrompt]
    instruction: str
    comparisons: int


@dataclass(frozen=True, slots=True)
class RewardResult:
    """A fitted reward model in memory, not yet normalized."""

    names: tuple[str, ...]
    config: RewardConfig
    criteria: Criteria
    reward: AdapterReward
    parts: tuple[RewardFunction, ...]
    items: tuple[PromptItem, ...]
    end: LoopEnd
    choices: int
    longer_wins: LongerWins | None

    def scaled(self, roles: Roles, plan: RoundPlan) -> dict[str, Any]:
        """Scale the scores on the start model's own responses; return the settings to record."""
        responses = reasoning.branches(roles.loaded, own_responses(roles, self.items, plan))
        normaliser = fit_scale(self.reward, responses, plan)
        learned = replace(self.reward, normalizer=normaliser)
        return {
            "names": list(self.names),
            "normaliser": normaliser.to_json(),
            "training": self.config.to_json(),
            "rows": self.reward.probe.to_json(),
            kl_worth.RECORDED: self.choices,
            length_limits.RECORDED: None if self.longer_wins is None else asdict(self.longer_wins),
            **trained_parameters.of(roles, self.names),
            **reward_parts.recorded(plan.reward, self.parts, responses, learned),
        }

    def save(self, roles: Roles, folder: Path) -> None:
        """Write the weights, a folder for each member of the ensemble."""
        for name in self.names:
            saving.save_reward(roles, folder / name, role=name)
            reward_loading.write(roles, folder / name)


def fit(
    place: RunPlace,
    roles: Roles,
    inputs: RewardInputs,
    parts: tuple[RewardFunction, ...],
    *,
    save_every: int | None = None,
) -> RewardResult | None:
    """Fit the model; None in a process that is not the first of several.

    Raises:
        Invalid: no normalization prompt leaves room for a response, or the SFT adapter has a
            different shape.
    """
    plan = inputs.plan
    config = begin(roles, inputs)
    names, criteria = reward_model.names(config.members), config.criteria
    if plan.checkpoints_gradients:
        roles.checkpoint_gradients(True)
    items = prompts_with_room(roles, inputs.prompts, inputs.instruction, plan)
    state = TrainingState()
    training_loop.restore(place, state)
    loop = reward_model.train(roles, inputs.train, inputs.heldout, config, state)
    end = training_loop.follow(
        place, loop, state, save_every=save_every, note=NOTE, room=roles.room
    )
    roles.gather()
    place.leave_team()
    if not place.is_first:
        return None
    trained_parameters.say(place, roles, names)
    reward = AdapterReward(roles, names, scoring.probe(roles))
    return RewardResult(
        names,
        config,
        criteria,
        reward,
        parts,
        tuple(items),
        end,
        kl_limit.choices(inputs.train),
        LongerWins.of_prompts(reward_report.longer_wins(inputs.train)),
    )


def begin(roles: Roles, inputs: RewardInputs) -> RewardConfig:
    """Return the loop's settings, and add the adapters and heads unless a search has already.

    Raises:
        Invalid: the SFT adapter has a different shape.
    """
    criteria = criterion_heads.fit(inputs.train, inputs.criterion_weights)
    config = config_of(
        inputs.plan, inputs.comparisons, criteria, roles=roles, heldout=len(inputs.heldout)
    )
    tokens = token_budgets.of(
        roles,
        inputs.plan.token_budget,
        config.token_budget,
        recomputes=inputs.plan.checkpoints_gradients,
    )
    config = replace(config, token_budget=tokens)
    names = reward_model.names(config.members)
    if not roles.has_adapter(names[0]):
        reward_model.prepare(roles, config)
        start_from_sft(roles, names)
        if not criteria:
            fitting, _ = split_by_length(inputs.train, config.max_tokens)
            head_scale.settle(roles, names, fitting)
    return config


def config_of(
    plan: RoundPlan,
    comparisons: int,
    criteria: Criteria = (),
    *,
    roles: Roles | None = None,
    heldout: int = 0,
) -> RewardConfig:
    """Return the loop's settings for that many comparisons, with the criteria that were rated.

    An SFT adapter's shape takes precedence over the plan's, as it does for a policy. A learning
    rate that the plan leaves open is the usual one for the model; `reward_search` does better.

    Raises:
        Invalid: the plan leaves the learning rate open, and there is no model to choose it for.
    """
    lora = plan.reward.lora
    own = LoraSettings(lora.r, lora.alpha) if roles is None else adapter_shape.of(lora, roles)
    shape = own if roles is None else roles.settings.get(SFT, own)
    rate = plan.reward.learning_rate
    if rate is None:
        if roles is None:
            raise Invalid("the reward model's learning_rate is not set, and no model is loaded")
        rate = rate_search.usual_rate(models.output_width(roles.causal), shape.alpha)
    return RewardConfig(
        members=plan.reward.ensemble,
        epochs=plan.reward.epochs_for(max(1, comparisons)),
        max_steps=plan.reward.max_steps,
        batch_rankings=plan.reward.batch_size,
        learning_rate=rate,
        warmup_share=WARMUP_SHARE,
        terms=Terms(
            loss=LOSSES[plan.reward.loss],
            with_margin=plan.reward.use_margin,
            smoothing=plan.reward.label_smoothing,
            centering=plan.reward.centering,
        ),
        evaluate_every=plan.reward.evaluation_interval(max(1, comparisons), heldout),
        patience=plan.reward.patience,
        max_tokens=plan.reward.max_tokens,
        seed=plan.seed,
        lora=shape,
        criteria=criteria,
    )


def start_from_sft(roles: Roles, names: Sequence[str]) -> None:
    """Initialize the reward model from the SFT adapter, if there is one.

    Raises:
        Invalid: the adapters differ in shape, so weights cannot be copied.
    """
    if not roles.has_adapter(SFT):
        return
    for name in names:
        if _shape(roles, name) != _shape(roles, SFT):
            raise Invalid(
                "the reward model cannot be initialized from the SFT adapter: it has "
                f"{_described(roles, name)}, the SFT adapter {_described(roles, SFT)}"
            )
        roles.copy_role(SFT, name)


def _shape(roles: Roles, name: str) -> tuple[int, int, frozenset[str]]:
    """Return an adapter's rank, scale and layers, however the layers were specified."""
    own = roles.settings[name]
    keys = (key for key in roles.named_parameters_of(name) if ".lora_" in key)
    return own.r, own.alpha, frozenset(key.partition("/")[2].split(".lora_")[0] for key in keys)


def _described(roles: Roles, name: str) -> str:
    r, alpha, layers = _shape(roles, name)
    return f"r {r}, alpha {alpha} on {len(layers)} layers"


def own_responses(roles: Roles, items: Sequence[PromptItem], plan: RoundPlan) -> list[Branches]:
    """Sample a response of the start model to each prompt."""
    settings = plan.sampling
    config = SamplingConfig(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=plan.seed,
        batch_size=settings.batch_size,
    )
    ids = {item.key: item.prompt_ids for item in items}
    role = REFERENCE if roles.has_adapter(SFT) else BASE
    return [
        Branches(ids[completion.prompt_key], [completion.token_ids])
        for completion in sampling.generate(roles, items, config, role)
    ]


def prompts_with_room(
    roles: Roles, prompts: Sequence[KeyedPrompt], instruction: str, plan: RoundPlan
) -> list[PromptItem]:
    """Return the normalization prompts that leave room for a response.

    Raises:
        Invalid: none does, so the scores cannot be normalized.
    """
    tokens = plan.sampling.max_new_tokens
    items = [
        PromptItem(key, token_ids.prompt_ids(roles.loaded, messages, instruction))
        for key, messages in prompts
    ]
    kept = token_ids.that_fit(items, roles, tokens)
    reason = token_ids.without_room("normalization", items, kept, roles, tokens)
    if reason is not None:
        raise Invalid(f"the reward model's scores cannot be normalized: {reason}")
    return kept


def fit_scale(reward: AdapterReward, responses: Sequence[Branches], plan: RoundPlan) -> Normalizer:
    """Return the scale on which these responses have mean 0 and standard deviation 1."""
    return Normalizer.fit(reward.raw(responses), penalty=plan.policy.uncertainty_penalty)
