"""What a round is going to do, decided before it starts: a typed, validated plan.

The plan is stored with the round as JSON and read back by every job of it. How many steps the
settings come to is counted here; what a step does is left to the worker.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.domain import reading
from app.domain.bounds import between, optional
from app.domain.reward_parts import LabelerWeight, PairLoss, RewardPart, Weighing
from app.domain.steps import Steps, steps
from app.errors import Invalid

PARTS_MOST = 8
STARTER = "starter"
"""The base model that is built from the project's own demonstrations."""

SERVER_MODEL_MOST = 100
LOOKS_EVERY, LOOKS_LEAST = 5, 6  # steps between looks at a policy; looks of a short run


def _training(name: str, epochs: int, batch_size: int, learning_rate: float | None) -> None:
    between(f"{name} epochs", epochs, 1, 10_000)
    between(f"{name} batch_size", batch_size, 1, 65_536)
    optional(f"{name} learning_rate", learning_rate, 1e-9, 1.0)


def _capped(counted: Steps, limit: int | None) -> Steps:
    if limit is None or counted.total <= limit:
        return counted
    return Steps(counted.per_epoch, limit)


class Algorithm(StrEnum):
    """How the policy learns."""

    PPO = "ppo"
    RLOO = "rloo"  # several answers to each prompt instead of a value model
    DPO = "dpo"  # from the judgments themselves; the reward model only watches
    BEST_OF_N = "best-of-n"  # imitates the best of several answers


class Start(StrEnum):
    """What a round's policy training starts from."""

    SFT = "sft"
    LAST = "last"  # the policy that wrote the candidates


class Engine(StrEnum):
    """How a model in memory answers; what is drawn is the same."""

    STATIC = "static"
    CONTINUOUS = "continuous"  # for a GPU and answers of unequal length


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn."""

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
class ServerPlan:
    """A model behind an OpenAI-compatible server, whose answers take part in the comparisons.

    `url` is one of those that the workers' operator allows; `candidates` count per prompt.
    """

    url: str = ""
    model: str = ""
    candidates: int = 1
    is_chat: bool = True
    concurrency: int = 8

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise Invalid(f"server url must begin with http:// or https://, not {self.url!r}")
        if not 0 < len(self.model) <= SERVER_MODEL_MOST:
            raise Invalid(f"server model must have 1 to {SERVER_MODEL_MOST} characters")
        between("server candidates", self.candidates, 1, 64)
        between("server concurrency", self.concurrency, 1, 256)


@dataclass(frozen=True, slots=True)
class Preflight:
    """Which candidates a person never gets to see.

    `near_identical` is the share of word pairs in common at which two candidates count as one;
    1 drops identical ones only. `spares` are the extra samples a prompt may draw as replacements.
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
class Lora:
    """Shape of an adapter."""

    r: int = 16
    alpha: int = 32

    def __post_init__(self) -> None:
        between("LoRA r", self.r, 1, 1024)
        between("LoRA alpha", self.alpha, 1, 4096)


@dataclass(frozen=True, slots=True)
class Starter:
    """Shape of the model that is built when a project has none."""

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
    """Training on demonstrations. `is_full` None: everything for a starter, else an adapter."""

    epochs: int = 3
    batch_size: int = 64
    max_steps: int | None = None
    learning_rate: float | None = None  # None: 1e-3 for a starter, 2e-4 for an adapter, 2e-5 full
    max_tokens: int = 1024
    is_full: bool | None = None
    lora: Lora = Lora()
    starter: Starter = Starter()

    def __post_init__(self) -> None:
        _training("SFT", self.epochs, self.batch_size, self.learning_rate)
        optional("SFT max_steps", self.max_steps, 1, 10_000_000)
        between("SFT max_tokens", self.max_tokens, 8, 1_000_000)

    def steps(self, demonstrations: int) -> Steps:
        """Count the steps on a data set of that many demonstrations."""
        return _capped(steps(demonstrations, self.batch_size, self.epochs), self.max_steps)


@dataclass(frozen=True, slots=True)
class RewardPlan:
    """Training the reward model on judgments; a batch is so many comparisons.

    It stops once `patience` looks at the held-out comparisons were no better (0: never), and looks
    every `evaluate_every` steps (None: ten times in the run). The policy's reward is `weight` times
    the learned one plus the `parts`; at a weight of 0 the learned one only watches.
    """

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 2e-4
    ensemble: int = 1
    loss: PairLoss = PairLoss.PAIRS
    weighing: Weighing = Weighing.EQUAL
    labelers: tuple[LabelerWeight, ...] = ()  # who is not named weighs 1
    use_margin: bool = False
    label_smoothing: float = 0.0
    centering: float = 0.01
    max_tokens: int = 1024
    normaliser_prompts: int = 64
    evaluate_every: int | None = None
    patience: int = 3
    weight: float = 1.0
    parts: tuple[RewardPart, ...] = ()
    lora: Lora = Lora()

    def __post_init__(self) -> None:
        _training("reward", self.epochs, self.batch_size, self.learning_rate)
        between("reward ensemble", self.ensemble, 1, 16)
        between("reward label_smoothing", self.label_smoothing, 0.0, 0.49)
        between("reward centering", self.centering, 0.0, 1.0)
        between("reward max_tokens", self.max_tokens, 8, 1_000_000)
        between("reward normaliser_prompts", self.normaliser_prompts, 2, 100_000)
        optional("reward evaluate_every", self.evaluate_every, 1, 1_000_000)
        between("reward patience", self.patience, 0, 10_000)
        between("reward weight", self.weight, 0.0, 100.0)
        between("number of parts of the reward", len(self.parts), 0, PARTS_MOST)
        if not self.weight and not self.parts:
            raise Invalid(
                "the policy's reward is nothing: the learned one weighs 0 and has no parts"
            )
        named = [each.labeler for each in self.labelers]
        for name in named:
            if named.count(name) > 1:
                raise Invalid(f"labeler {name} has {named.count(name)} weights, not one")

    def steps(self, comparisons: int) -> Steps:
        """Count the steps on a data set of that many comparisons."""
        return steps(comparisons, self.batch_size, self.epochs)

    def looks_every(self, comparisons: int) -> int:
        """Return after how many steps the held-out comparisons are looked at."""
        return self.evaluate_every or max(1, self.steps(comparisons).total // 10)


@dataclass(frozen=True, slots=True)
class PolicyPlan:
    """Training the policy against the reward model; a batch is so many answers.

    `kl_budget` is the square root of the KL in nats at which the run stops; with a `plateau` it
    stops too where so many looks at held-out prompts were hardly better than as many before.
    `samples` are the answers to each prompt that RLOO compares or of which best of n keeps one. For
    DPO a batch is so many comparisons, an epoch is all that the reward model learned from, and the
    KL coefficient is its beta. `lora` is for a policy that finds neither an SFT adapter nor a
    reward model, whose shape it would take.
    """

    algorithm: Algorithm = Algorithm.PPO
    start: Start = Start.SFT
    prompts: int = 2000
    samples: int = 4
    epochs: int = 1
    batch_size: int = 64
    max_steps: int | None = None
    learning_rate: float = 3e-4
    value_learning_rate: float | None = None  # None: the policy's
    kl_coefficient: float = 0.1
    is_kl_adaptive: bool = False
    kl_budget: float | None = 4.0
    reward_target: float | None = None
    plateau: int | None = None
    passes: int = 4  # over each batch of answers; PPO and RLOO
    minibatches: int = 1
    shares_trunk: bool = False  # the value head reads the policy's hidden states
    uncertainty_penalty: float = 0.0  # per unit of the ensemble's spread
    heldout_prompts: int = 64
    evaluate_every: int | None = None  # steps between looks; None: 5, and fewer in short runs
    sample_every: int = 5  # answers of the looks are kept at most so often
    save_every: int = 5
    lora: Lora = Lora()

    def __post_init__(self) -> None:
        _training("policy", self.epochs, self.batch_size, self.learning_rate)
        optional("policy value_learning_rate", self.value_learning_rate, 1e-9, 1.0)
        optional("policy max_steps", self.max_steps, 1, 10_000_000)
        between("policy prompts", self.prompts, 1, 10_000_000)
        between("policy kl_coefficient", self.kl_coefficient, 0.0, 100.0)
        optional("policy kl_budget", self.kl_budget, 0.01, 1000.0)
        optional("policy reward_target", self.reward_target, -1000.0, 1000.0)
        optional("policy plateau", self.plateau, 1, 10_000)
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
            raise Invalid(f"{self.algorithm} needs 2 or more samples of each prompt, not 1")
        if self.algorithm is Algorithm.RLOO and self.batch_size % self.samples:
            raise Invalid(
                f"policy batch_size {self.batch_size} must be a multiple of samples "
                f"{self.samples}: RLOO compares all answers to a prompt"
            )

    def looks_every(self, steps: int) -> int:
        """Return after how many steps to look: often enough to tell a peak in a short run."""
        return self.evaluate_every or max(1, min(LOOKS_EVERY, steps // LOOKS_LEAST))

    def keeps_samples(self, step: int, steps: int) -> bool:
        """Tell whether the answers of the look at a step are kept for people to read."""
        since_the_last_look = step - self.looks_every(steps)
        return step // self.sample_every > since_the_last_look // self.sample_every

    def steps(self, prompts: int, comparisons: int | None = None) -> Steps:
        """Count the steps on that many prompts, or as many of them as the plan takes.

        Args:
            prompts: of the training split.
            comparisons: that the reward model learns from, which is what DPO counts.

        """
        data = min(prompts, self.prompts)
        if self.algorithm is Algorithm.RLOO:
            data *= self.samples
        elif self.algorithm is Algorithm.DPO and comparisons is not None:
            data = comparisons
        return _capped(steps(data, self.batch_size, self.epochs), self.max_steps)


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """New policy against old on prompts that neither was trained on.

    `frozen_share` of the prompts are the same in every round; the rest is a fresh slice.
    """

    prompts: int = 200
    overlap: int = 1
    frozen_share: float = 0.5

    def __post_init__(self) -> None:
        between("evaluation prompts", self.prompts, 1, 100_000)
        between("evaluation overlap", self.overlap, 1, 99)
        between("evaluation frozen_share", self.frozen_share, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """One turn of the loop. None in `k` and `overlap` stands for the project's own.

    `prompts` of the training split get candidates, and `heldout_prompts` of the validation split,
    whose judgments only measure. Each prompt gets `candidates` samples, put into
    `comparisons_per_prompt` comparisons. `mix_share` of the prompts get a candidate of an earlier
    model, so that ratings connect; `use_imported` lets completions from files take part, `server`
    those of somebody else's model. `four_bit` loads a base model in 4 bits under its adapters
    (QLoRA); `checkpoints_gradients` has training keep less in memory and compute it again. Training
    takes `processes` of the worker's, or all it has.
    """

    prompts: int = 400
    heldout_prompts: int = 50
    candidates: int = 4
    comparisons_per_prompt: int = 1
    k: int | None = None
    overlap: int | None = None
    mix_share: float = 0.25
    use_imported: bool = True
    server: ServerPlan | None = None
    four_bit: bool = False
    checkpoints_gradients: bool = False
    processes: int | None = None
    seed: int = 0
    sampling: Sampling = Sampling()
    preflight: Preflight = Preflight()
    sft: SftPlan | None = field(default_factory=SftPlan)
    reward: RewardPlan = RewardPlan()
    policy: PolicyPlan = PolicyPlan()
    evaluation: EvaluationPlan = EvaluationPlan()

    def __post_init__(self) -> None:
        between("prompts", self.prompts, 1, 10_000_000)
        between("heldout_prompts", self.heldout_prompts, 0, 1_000_000)
        between("candidates", self.candidates, 1, 64)
        between("comparisons_per_prompt", self.comparisons_per_prompt, 1, 64)
        optional("k", self.k, 1, 9)
        optional("overlap", self.overlap, 1, 99)
        between("mix_share", self.mix_share, 0.0, 1.0)
        optional("processes", self.processes, 1, 64)
        between("seed", self.seed, 0, 2**53)
        if self.four_bit and self.sft is not None and self.sft.is_full:
            raise Invalid("a model in 4 bits cannot be trained in full; SFT needs an adapter")

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RoundPlan":
        """Read a plan; what is left out has its default.

        Raises:
            Invalid: an unknown name, a value of the wrong type, or one that breaks a rule.
        """
        plan = reading.read(cls, data, "plan")
        assert isinstance(plan, RoundPlan)
        return plan
