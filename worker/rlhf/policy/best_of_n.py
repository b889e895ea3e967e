"""Rejection sampling: answer n times, keep the answer with the highest reward, imitate it.

Best-of-n as in WebGPT (arXiv 2112.09332, section 3.2), then supervised fine-tuning on the winners
as in Llama 2 (arXiv 2307.09288, section 3.2.3). Answers are those of a role that training does not
move: a run that was stopped finds the same winners again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from worker.rlhf.core.examples import Completion, Demonstration, PromptItem
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import REFERENCE, SFT, Roles
from worker.rlhf.policy.policy_watch import Watch
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig


@dataclass(frozen=True, slots=True)
class BestOfNConfig:
    """How answers are sampled and how the winners are imitated.

    `kl_coefficient` is the price of KL by which the best weights are chosen.
    """

    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(n=8))
    imitation: SftConfig = field(default_factory=lambda: SftConfig(epochs=2))
    kl_coefficient: float = 0.1

    def to_json(self) -> dict[str, object]:
        """Return what the manifest keeps."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Winner:
    """The best answer to a prompt, and how far above the prompt's mean it is."""

    prompt: PromptItem
    completion: Completion
    reward: float
    lead: float


def prepare(roles: Roles, config: BestOfNConfig) -> None:
    """Add the policy, started from the SFT adapter if there is one."""
    source = SFT if roles.has_adapter(SFT) else None
    own = config.imitation
    roles.add_adapter("policy", own.lora, init_from=source, seed=own.seed)


def train(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: BestOfNConfig,
    state: TrainingState,
    watch: Watch | None = None,
    *,
    sampled: str = REFERENCE,
) -> Iterator[StepReport]:
    """Find the winners and train the prepared policy to imitate them, and yield every step.

    With a watch the end is as in `dpo.train`. `sampled` is the role whose answers compete.
    """
    imitation = replace(config.imitation, full=False, adapter="policy")
    if "stop_reason" in state.values:  # over: only the weights are put back
        finetuning.begin(roles, imitation, state)
        return
    won = winners(roles, prompts, reward, config.sampling, role=sampled)
    found = {
        "reward/winner": sum(each.reward for each in won) / len(won),
        "reward/lead": sum(each.lead for each in won) / len(won),
        "kl/bound": kl_bound(config.sampling.n),
    }
    demonstrations = [
        Demonstration(each.prompt.prompt_ids, each.completion.token_ids) for each in won
    ]
    run = finetuning.Run(roles, demonstrations, imitation, state)
    if watch is not None:
        watch.look_at_the_start(config.kl_coefficient)
    while state.step < run.steps and "stop_reason" not in state.values:
        metrics = run.step() | found
        if watch is not None:
            yield watch.report(metrics, config.kl_coefficient, steps_total=run.steps)
        else:
            reason = "steps" if state.step == run.steps else None
            yield StepReport(state.step, run.steps, metrics, stop_reason=reason)


def winners(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: SamplingConfig,
    role: str = REFERENCE,
) -> list[Winner]:
    """Return the best of n answers to each prompt; of equal ones the first.

    Raises:
        ValueError: if there is no prompt.

    """
    if not prompts:
        raise ValueError("best of n needs at least one prompt")
    share = roles.team.share([len(prompt.prompt_ids) for prompt in prompts])
    won = _winners(roles, [prompts[index] for index in share], reward, config, role)
    both = dict(roles.team.gather(list(zip(share, won, strict=True))))
    return [both[index] for index in range(len(prompts))]


def _winners(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: SamplingConfig,
    role: str,
) -> list[Winner]:
    if not prompts:  # the share of a process of a small batch
        return []
    answers: dict[str, list[Completion]] = {prompt.key: [] for prompt in prompts}
    for completion in sampling.generate(roles, prompts, config, role=role):
        answers[completion.prompt_key].append(completion)
    asked = [
        Branches(prompt.prompt_ids, [each.token_ids for each in answers[prompt.key]])
        for prompt in prompts
    ]
    scores = reward.score(asked).normalised.view(len(prompts), config.n)
    return [
        Winner(
            prompt,
            answers[prompt.key][best],
            float(scores[row, best]),
            float(scores[row, best] - scores[row].mean()),
        )
        for row, prompt in enumerate(prompts)
        for best in [int(scores[row].argmax())]
    ]


def kl_bound(n: int) -> float:
    """Return the most that best of n can be away from what it samples, in nats.

    log n - (n - 1) / n; an upper bound, reached where no two answers are equal (Beirami et al.
    2024, arXiv 2401.01879).
    """
    return math.log(n) - (n - 1) / n
