"""Rejection sampling: answer n times, keep the answer with the highest reward, imitate it.

Best-of-n as in WebGPT (arXiv 2112.09332, section 3.2), then supervised fine-tuning on the winners
as in Llama 2 (arXiv 2307.09288, section 3.2.3). Answers are those of the reference, which training
does not move: a run that was stopped finds the same winners again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from worker.rlhf import sampling, sft
from worker.rlhf.data import Completion, Demonstration, PromptItem
from worker.rlhf.prefix import Branches
from worker.rlhf.report import StepReport
from worker.rlhf.roles import REFERENCE, Roles
from worker.rlhf.sampling import SamplingConfig
from worker.rlhf.scoring import RewardFunction
from worker.rlhf.sft import SftConfig
from worker.rlhf.training_state import TrainingState


@dataclass(frozen=True, slots=True)
class BestOfNConfig:
    """How answers are sampled and how the winners are imitated."""

    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(n=8))
    imitation: SftConfig = field(default_factory=lambda: SftConfig(epochs=2))

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


def train(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: BestOfNConfig,
    state: TrainingState,
) -> Iterator[StepReport]:
    """Find the winners and train the policy adapter to imitate them, and yield every step."""
    won = winners(roles, prompts, reward, config.sampling)
    found = {
        "reward/winner": sum(each.reward for each in won) / len(won),
        "reward/lead": sum(each.lead for each in won) / len(won),
        "kl/bound": kl_bound(config.sampling.n),
    }
    demonstrations = [
        Demonstration(each.prompt.prompt_ids, each.completion.token_ids) for each in won
    ]
    imitation = replace(config.imitation, full=False, adapter="policy")
    for report in sft.train(roles, demonstrations, imitation, state):
        yield replace(report, metrics={**report.metrics, **found})


def winners(
    roles: Roles,
    prompts: Sequence[PromptItem],
    reward: RewardFunction,
    config: SamplingConfig,
) -> list[Winner]:
    """Return the best of n answers to each prompt; of equal ones the first.

    Raises:
        ValueError: if there is no prompt.

    """
    if not prompts:
        raise ValueError("best of n needs at least one prompt")
    answers: dict[str, list[Completion]] = {prompt.key: [] for prompt in prompts}
    for completion in sampling.generate(roles, prompts, config, role=REFERENCE):
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
