"""The plan of a round: typed, validated settings that are fixed before the round starts.

The plan is stored with the round as JSON and read back by each of its jobs. Only a remedy that a
person takes at a gate, or before a failed stage is tried again, changes it afterwards. The number
of training steps that follows from the settings is computed here; what a step does is left to the
worker.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.domain import json_dataclasses
from app.domain.bounds import between, optional, training
from app.domain.chat_settings import ChatSettings
from app.domain.choosing import ChoicePlan
from app.domain.gate_policies import GatePolicies
from app.domain.launch_choice import LaunchChoice
from app.domain.lora import Lora
from app.domain.reward_plan import RewardPlan
from app.domain.server_plan import SamplingServerPlan, ServerPlan
from app.domain.step_counts import StepCount, count_steps
from app.errors import Invalid

STARTER = "starter"
"""The base model that is trained from scratch on the project's own demonstrations."""

POLICY_EVALUATION_INTERVAL = 5  # steps; shorter in runs of fewer steps than
POLICY_EVALUATIONS_LEAST = 6  # evaluations would need at that interval


class Algorithm(StrEnum):
    """The algorithm that trains the policy."""

    PPO = "ppo"
    RLOO = "rloo"  # several completions per prompt instead of a value model
    DPO = "dpo"  # learns from the preferences directly; the reward model only measures
    BEST_OF_N = "best-of-n"  # fine-tunes on the best of several completions


class Start(StrEnum):
    """The model that the policy is initialized from."""

    SFT = "sft"
    LAST = "last"  # the current policy when the round is launched


class Engine(StrEnum):
    """The batching of a model in memory; it does not change which tokens are sampled."""

    STATIC = "static"
    CONTINUOUS = "continuous"  # faster on a GPU if responses differ in length


class Parallel(StrEnum):
    """What each process of a training holds; it does not change what is learned."""

    DATA = "data"  # the whole base model, and computes a share of each batch
    SHARDED = "sharded"  # also but a part of the model, for one that does not fit one device


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are sampled."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 128
    batch_size: int = 32
    engine: Engine = Engine.STATIC

    def __post_init__(self) -> None:
        between("sampling temperature", self.temperature, 0.01, 5.0)
        between("sampling top_p", self.top_p, 0.01, 1.0)
        between("sampling top_k", self.top_k, 0, 1_000_000)
        between("sampling max_new_tokens", self.max_new_tokens, 1, 32_768)
        between("sampling batch_size", self.batch_size, 1, 4096)


@dataclass(frozen=True, slots=True)
class Preflight:
    """Which candidates are dropped before a person sees them.

    `near_identical` is the share of common word pairs from which two candidates count as the same;
    1 drops only identical ones. `spares` is how many replacements may be sampled for a prompt.
    """

    is_on: bool = True
    drop_cut_off: bool = True
    near_identical: float = 0.9
    loop_repeats: int = 4
    spares: int = 4

    def __post_init__(self) -> None:
        between("pre-flight near_identical", self.near_identical, 0.1, 1.0)
        between("pre-flight loop_repeats", self.loop_repeats, 2, 100)
        between("pre-flight spares", self.spares, 0, 64)


@dataclass(frozen=True, slots=True)
class Starter:
    """The shape of the model that is built if a project has no base model."""

    vocabulary: int = 1024
    width: int = 192
    layers: int = 6
    heads: int = 6

    def __post_init__(self) -> None:
        between("starter vocabulary", self.vocabulary, 260, 65_536)
        between("starter width", self.width, 8, 4096)
        between("starter layers", self.layers, 1, 64)
        between("starter heads", self.heads, 1, 64)
        if self.width % self.heads:
            raise Invalid(f"starter width {self.width} must be a multiple of heads {self.heads}")


@dataclass(frozen=True, slots=True)
class SftPlan:
    """Supervised fine-tuning on demonstrations.

    `is_full` trains all weights; None does so for a starter and trains an adapter otherwise. A
    `learning_rate` of None is chosen by a search before the training, which may take
    `search_share` of its time (0: the usual rate for the model's size).
    """

    epochs: int = 3
    batch_size: int = 64
    max_steps: int | None = None
    learning_rate: float | None = None
    search_share: float = 0.2
    max_tokens: int = 1024
    is_full: bool | None = None
    lora: Lora = field(default_factory=Lora)
    starter: Starter = Starter()

    def __post_init__(self) -> None:
        training("SFT", self.epochs, self.batch_size, self.learning_rate)
        between("SFT search_share", self.search_share, 0.0, 1.0)
        optional("SFT max_steps", self.max_steps, 1, 10_000_000)
        between("SFT max_tokens", self.max_tokens, 8, 1_000_000)

    def steps(self, demonstrations: int) -> StepCount:
        """Count the steps for a number of demonstrations."""
        return count_steps(demonstrations, self.batch_size, self.epochs).capped(self.max_steps)


@dataclass(frozen=True, slots=True)
class PolicyPlan:
    """Training of the policy against the reward model; the batch size counts responses.

    `epochs` None is 1, or for PPO and RLOO as many as give `steps_least`, if there are few prompts.
    `kl_budget` is the square root of the KL in nats at which the run stops; with `kl_by_judgments`
    it is lower if the reward model learned from few judgments, and `kl_coefficient` is if it
    learned from many. With a `plateau`, it also stops if that many evaluations on held-out prompts
    are hardly better than as many before them. `fresh_votes` is how many held-out prompts people
    are asked about at each evaluation: the current policy against the reference, while it trains.
    `samples` is the number of responses to each prompt that RLOO compares, or of which best of n
    keeps one. For DPO the batch size counts comparisons, an epoch is everything the reward model
    was trained on, and the KL coefficient is its beta. `lora` applies only to a policy that has
    neither an SFT adapter nor a reward model to take its shape from.
    """

    algorithm: Algorithm = Algorithm.PPO
    start: Start = Start.LAST
    prompts: int = 2000
    samples: int = 4
    epochs: int | None = None
    steps_least: int = 20
    batch_size: int = 64
    max_steps: int | None = None
    learning_rate: float = 3e-4
    value_learning_rate: float | None = None  # None: the policy's
    kl_coefficient: float = 0.1
    is_kl_adaptive: bool = False
    kl_budget: float | None = 4.0
    kl_by_judgments: bool = True
    reward_target: float | None = None
    plateau: int | None = None
    fresh_votes: int = 0
    passes: int = 4  # over each batch of responses; PPO and RLOO
    minibatches: int = 1
    shares_trunk: bool = True  # the value head reads the policy's hidden states
    uncertainty_penalty: float = 0.0  # per standard deviation of the ensemble
    heldout_prompts: int = 64
    evaluate_every: int | None = None  # steps between evaluations; None: 5, fewer in short runs
    sample_every: int = 5  # steps; responses of an evaluation are kept at most this often
    save_every: int = 5
    lora: Lora = field(default_factory=Lora)

    def __post_init__(self) -> None:
        training("policy", self.epochs, self.batch_size, self.learning_rate)
        optional("policy value_learning_rate", self.value_learning_rate, 1e-9, 1.0)
        between("policy steps_least", self.steps_least, 1, 10_000_000)
        optional("policy max_steps", self.max_steps, 1, 10_000_000)
        between("policy prompts", self.prompts, 1, 10_000_000)
        between("policy kl_coefficient", self.kl_coefficient, 0.0, 100.0)
        optional("policy kl_budget", self.kl_budget, 0.01, 1000.0)
        optional("policy reward_target", self.reward_target, -1000.0, 1000.0)
        optional("policy plateau", self.plateau, 1, 10_000)
        between("policy fresh_votes", self.fresh_votes, 0, 1000)
        between("policy passes", self.passes, 1, 64)
        between("policy minibatches", self.minibatches, 1, self.batch_size)
        between("policy uncertainty_penalty", self.uncertainty_penalty, 0.0, 100.0)
        between("policy heldout_prompts", self.heldout_prompts, 0, 1_000_000)
        optional("policy evaluate_every", self.evaluate_every, 1, 1_000_000)
        for name in ("sample_every", "save_every"):
            between(f"policy {name}", getattr(self, name), 1, 1_000_000)
        self._check_samples()

    def _check_samples(self) -> None:
        between("policy samples", self.samples, 1, 256)
        if self.algorithm not in (Algorithm.RLOO, Algorithm.BEST_OF_N):
            return
        if self.samples < 2:
            raise Invalid(f"{self.algorithm} needs at least 2 samples per prompt, not 1")
        if self.algorithm is Algorithm.RLOO and self.batch_size % self.samples:
            raise Invalid(
                f"policy batch_size {self.batch_size} must be a multiple of samples "
                f"{self.samples}: RLOO compares all responses to a prompt"
            )

    def evaluation_interval(self, steps: int) -> int:
        """Return the steps between evaluations, few enough to see the peak of a short run.

        They may be further apart to save time: see `policy_looks`.
        """
        longest = min(POLICY_EVALUATION_INTERVAL, steps // POLICY_EVALUATIONS_LEAST)
        return self.evaluate_every or max(1, longest)

    def keeps_samples(self, step: int, every: int) -> bool:
        """Whether the responses of the evaluation at a step are kept for people to read.

        Args:
            step: of the evaluation.
            every: steps between evaluations.
        """
        last_evaluation = step - every
        return step // self.sample_every > last_evaluation // self.sample_every

    def steps(self, prompts: int, comparisons: int | None = None) -> StepCount:
        """Count the steps for a number of prompts, of which the plan may use fewer.

        Args:
            prompts: Prompts in the training split.
            comparisons: Comparisons that the reward model is trained on; DPO counts these.

        """
        data, epochs = self._data(prompts, comparisons), self.epochs_for(prompts, comparisons)
        return count_steps(data, self.batch_size, epochs).capped(self.max_steps)

    def epochs_for(self, prompts: int, comparisons: int | None = None) -> int:
        """Return the number of epochs: that of the plan, or as many as give enough steps."""
        if self.epochs is not None:
            return self.epochs
        if self.algorithm not in (Algorithm.PPO, Algorithm.RLOO):
            return 1
        per_epoch = count_steps(self._data(prompts, comparisons), self.batch_size, 1).per_epoch
        return -(-self.steps_least // per_epoch)

    def _data(self, prompts: int, comparisons: int | None) -> int:
        data = min(prompts, self.prompts)
        if self.algorithm is Algorithm.RLOO:
            return data * self.samples
        if self.algorithm is Algorithm.DPO and comparisons is not None:
            return comparisons
        return data


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The evaluation of the new policy against the old one, on prompts that neither trained on.

    A `frozen_share` of the prompts is the same in every round; the rest changes. If `judge` names
    an AI judge, it decides and people are not asked.
    """

    prompts: int = 200
    overlap: int = 1
    frozen_share: float = 0.5
    judge: str = ""

    def __post_init__(self) -> None:
        between("evaluation prompts", self.prompts, 1, 100_000)
        between("evaluation overlap", self.overlap, 1, 99)
        between("evaluation frozen_share", self.frozen_share, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """One pass through the loop. None in `k` and `overlap` stands for the project's setting.

    Candidates are sampled for `prompts` of the training split and for `heldout_prompts` of the
    validation split, whose judgments are used only to measure. Each prompt gets `candidates`
    samples, which are arranged in `comparisons_per_prompt` comparisons. The current policy writes a
    `policy_share` of them, and the SFT model that it came from the others. A `mix_share` of the
    prompts gets a candidate from an earlier model, so that ratings of different models can be
    compared. `use_imported` includes imported completions, and `server` those of a model behind a
    server. The round's own models are sampled by `sampling_server` instead of the workers. With
    `four_bit` the base model is loaded in 4 bits under its adapters (QLoRA), and
    `checkpoints_gradients` saves memory by recomputing activations in the backward pass. A forward
    pass of a training takes `token_budget` tokens, or as many as the free memory allows. Training
    uses `processes` of the worker's processes, or all of them, and `parallel` says whether each
    holds the base model or a part of it. `chat` None stands for the project's settings, which a
    round takes when it is launched. If `judge` names an AI judge, it labels the
    round's comparisons. `choose` says whether some of these are chosen by a rule. `gates` says of
    each gate whether the round waits at it, warns, or ignores it. `choice` records from which of
    the launch's choices the plan was made; None: from none.
    """

    prompts: int = 400
    heldout_prompts: int = 100
    candidates: int = 4
    comparisons_per_prompt: int = 1
    k: int | None = None
    overlap: int | None = None
    policy_share: float = 0.25
    mix_share: float = 0.25
    use_imported: bool = True
    judge: str = ""
    server: ServerPlan | None = None
    sampling_server: SamplingServerPlan | None = None
    four_bit: bool = False
    checkpoints_gradients: bool = False
    token_budget: int | None = None
    processes: int | None = None
    parallel: Parallel = Parallel.DATA
    seed: int = 0
    chat: ChatSettings | None = None
    sampling: Sampling = Sampling()
    preflight: Preflight = Preflight()
    choose: ChoicePlan = field(default_factory=ChoicePlan)
    sft: SftPlan | None = field(default_factory=SftPlan)
    reward: RewardPlan = field(default_factory=RewardPlan)
    policy: PolicyPlan = PolicyPlan()
    evaluation: EvaluationPlan = EvaluationPlan()
    gates: GatePolicies = field(default_factory=GatePolicies)
    choice: LaunchChoice | None = None

    def __post_init__(self) -> None:
        between("prompts", self.prompts, 1, 10_000_000)
        between("heldout_prompts", self.heldout_prompts, 0, 1_000_000)
        between("candidates", self.candidates, 1, 64)
        between("comparisons_per_prompt", self.comparisons_per_prompt, 1, 64)
        optional("k", self.k, 1, 9)
        optional("overlap", self.overlap, 1, 99)
        between("policy_share", self.policy_share, 0.0, 1.0)
        between("mix_share", self.mix_share, 0.0, 1.0)
        optional("token_budget", self.token_budget, 64, 10_000_000)
        optional("processes", self.processes, 1, 64)
        between("seed", self.seed, 0, 2**53)
        if self.four_bit and self.sft is not None and self.sft.is_full:
            raise Invalid("a model in 4 bits cannot be trained in full; SFT needs an adapter")
        if self.parallel is Parallel.SHARDED:
            self._refuse_undividable()
        if self.sampling_server is not None and (self.processes or 1) > 1:
            raise Invalid(
                "a training that a sampling server draws for runs in one process; "
                f"processes is {self.processes}"
            )

    def _refuse_undividable(self) -> None:
        if self.four_bit:
            raise Invalid("a model in 4 bits cannot be divided: parallel must be data, not sharded")
        if self.processes == 1:
            raise Invalid("parallel sharded divides the model among processes; processes is 1")
        if self.sampling_server is not None:
            raise Invalid(
                "a training that a sampling server draws for runs in one process: parallel must be "
                "data, not sharded"
            )

    @property
    def fits_reward(self) -> bool:
        """Whether a reward model is fitted, for which people have to judge completions."""
        learned = self.reward.weight > 0.0 or self.reward.fits_unweighted
        return learned or self.policy.algorithm is Algorithm.DPO

    @property
    def trains_on_reward(self) -> bool:
        """Whether the policy is trained on the reward model, or on the judgments it was fitted to.

        Otherwise it is only measured.
        """
        return self.reward.weight > 0.0 or self.policy.algorithm is Algorithm.DPO

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RoundPlan":
        """Read a plan; missing settings take their defaults.

        Raises:
            Invalid: an unknown name, a value of the wrong type, or one that breaks a rule.
        """
        plan = json_dataclasses.read(cls, data, "plan")
        assert isinstance(plan, RoundPlan)
        return plan
