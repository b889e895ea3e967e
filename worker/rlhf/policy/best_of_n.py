"""Rejection sampling: sample n completions per prompt and fine-tune on the best one.

Best-of-n as in WebGPT (arXiv 2112.09332, section 3.2), then supervised fine-tuning on the winners
as in Llama 2 (arXiv 2307.09288, section 3.2.3). Completions are sampled from a role that is not
trained, so a resumed run finds the same winners again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from worker.rlhf.core.examples import PromptItem, SampledCompletion, TokenizedDemonstration
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import REFERENCE, Roles
from worker.rlhf.policy.policy_watch import PolicyWatch
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig


@dataclass(frozen=True, slots=True)
class BestOfNConfig:
    """Settings of sampling and of the fine-tuning on the winners.

    `kl_coefficient` weighs KL when the best weights are chosen.
    """

    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(n=8))
    imitation: SftConfig = field(default_factory=lambda: SftConfig(epochs=2))
    kl_coefficient: float = 0.1

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values for the manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Winner:
    """The best completion of a prompt, and its lead over the prompt's mean reward."""

    prompt: PromptItem
    completion: SampledCompletion
    reward: float
    lead: float


def prepare(roles: Roles, config: BestOfNConfig) -> None:
    """Add the policy, as a copy of the SFT adapter if there is one."""
    roles.add_policy(config.imitation.lora, seed=config.imitation.seed)


def train(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: BestOfNConfig,
    state: TrainingState,
    watch: PolicyWatch | None = None,
    *,
    sampled: str = REFERENCE,
) -> Iterator[StepReport]:
    """Find the winners, train the prepared policy to imitate them, and yield a report per step.

    With a watch, the run ends as in `dpo.train`. `sampled` is the role that completions are sampled
    from.
    """
    imitation = replace(config.imitation, full=False, adapter="policy")
    if "stop_reason" in state.values:  # finished: only restore the weights
        finetuning.begin(roles, imitation, state)
        return
    best = winners(roles, prompts, reward, config.sampling, role=sampled)
    constant_metrics = {
        "reward/winner": sum(winner.reward for winner in best) / len(best),
        "reward/lead": sum(winner.lead for winner in best) / len(best),
        "kl/bound": kl_bound(config.sampling.n),
    }
    demonstrations = [
        TokenizedDemonstration(winner.prompt.prompt_ids, winner.completion.token_ids)
        for winner in best
    ]
    run = finetuning.SftRun(roles, demonstrations, imitation, state)
    if watch is not None:
        watch.evaluate_start(config.kl_coefficient)
    while state.step < run.steps and "stop_reason" not in state.values:
        metrics = run.step() | constant_metrics
        if watch is not None:
            yield watch.report(metrics, config.kl_coefficient, steps_total=run.steps)
        else:
            reason = f"steps: all {run.steps} done" if state.step == run.steps else None
            yield StepReport(state.step, run.steps, metrics, stop_reason=reason)


def winners(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: SamplingConfig,
    role: str = REFERENCE,
) -> list[Winner]:
    """Return the best of n completions of each prompt; of equal ones, the first.

    Raises:
        ValueError: if there is no prompt.
    """
    if not prompts:
        raise ValueError("best-of-n needs at least one prompt")
    costs = [len(prompt.prompt_ids) for prompt in prompts]
    share = roles.team.share(costs)
    own_prompts = [prompts[index] for index in roles.team.taken(share, costs)]
    own_winners = _winners(roles, own_prompts, reward, config, role)[: len(share)]
    by_index = dict(roles.team.gather(list(zip(share, own_winners, strict=True))))
    return [by_index[index] for index in range(len(prompts))]


def _winners(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: SamplingConfig,
    role: str,
) -> list[Winner]:
    if not prompts:  # the share of a process in a small batch
        return []
    completions: dict[str, list[SampledCompletion]] = {prompt.key: [] for prompt in prompts}
    for completion in sampling.generate(roles, prompts, config, role=role):
        completions[completion.prompt_key].append(completion)
    branches = [
        Branches(prompt.prompt_ids, [c.token_ids for c in completions[prompt.key]])
        for prompt in prompts
    ]
    scores = reward.score(branches).normalized.view(len(prompts), config.n)
    return [
        Winner(
            prompt,
            completions[prompt.key][best],
            float(scores[row, best]),
            float(scores[row, best] - scores[row].mean()),
        )
        for row, prompt in enumerate(prompts)
        for best in [int(scores[row].argmax())]
    ]


def kl_bound(n: int) -> float:
    """Return an upper bound on the KL divergence of best-of-n from the sampled policy, in nats.

    log n - (n - 1) / n, reached if no two completions are equal (Beirami et al. 2024, arXiv
    2401.01879).
    """
    return math.log(n) - (n - 1) / n
