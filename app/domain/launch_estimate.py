"""How long a round would keep a worker busy, and how much memory it needs.

Each stage has so many rows: demonstrations, responses, comparisons or episodes. What earlier jobs
took for a row counts; before there are any, the time follows from the size of the model with the
assumptions stated here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain import policy_looks
from app.domain.plan import RoundPlan, SftPlan
from app.domain.step_counts import LOOKS_SHARE

PROMPT_TOKENS = 100
CHARACTERS = 4.0
"""Of a token, about, in English; where there are texts, their lengths count."""

RESPONSE_SHARE = 1 / 3
"""Of the limit that a response is assumed to have: the mean if every magnitude from a sixteenth of
it up is equally likely."""

FLOPS_CPU, FLOPS_GPU = 5e10, 3e13
"""Assumed operations a second of a few processor cores and of one GPU."""

TRAINED = 6.0
"""Operations per parameter and token that is trained on (Kaplan et al., arXiv 2001.08361)."""

SAMPLED = TRAINED * policy_looks.SAMPLING_COST
BYTES, STATE_BYTES = 4, 12
"""Of a parameter in fp32; of a trained one also its gradient and Adam's two moments."""


@dataclass(frozen=True, slots=True)
class Work:
    """The rows of each stage, by the kind of job that does it; stages without work are left out."""

    rows: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Pace:
    """What earlier jobs took.

    Attributes:
        seconds: for a row of each stage, as far as it was measured with the same base model.
        jobs: how many jobs were measured.
        bytes: the most memory that one of them took; None if it was not measured.
        parameters: of the base model; None if unknown.
        bytes_needed: for its training, as the model's check has estimated; 0 if it has not.
        has_gpu: whether a worker reports one.
        prompt_characters: of the project's prompts, on average; None if it has none.
        response_characters: of its demonstrations or responses; None likewise.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    jobs: int = 0
    bytes: int | None = None
    parameters: int | None = None
    bytes_needed: int = 0
    has_gpu: bool = False
    prompt_characters: float | None = None
    response_characters: float | None = None

    @property
    def prompt_tokens(self) -> float:
        """The tokens of a prompt, about."""
        if self.prompt_characters is None:
            return PROMPT_TOKENS
        return self.prompt_characters / CHARACTERS

    def response_tokens(self, limit: int) -> float:
        """Return the tokens of a response, about."""
        if self.response_characters is None:
            return limit * RESPONSE_SHARE
        return min(limit, self.response_characters / CHARACTERS)


@dataclass(frozen=True, slots=True)
class LaunchEstimate:
    """What a plan would take; None if it cannot be told.

    `basis` says where the time is from, `memory_basis` the same of the memory.
    """

    seconds: float | None
    basis: str
    bytes: int | None
    memory_basis: str


def estimate(plan: RoundPlan, work: Work, pace: Pace, k: int) -> LaunchEstimate:
    """Estimate a plan; `k` is the number of responses in a comparison."""
    assumed = _assumed_seconds(plan, pace, k)
    missing = [kind for kind in work.rows if kind not in pace.seconds]
    seconds: float | None = None
    if not missing or assumed:
        seconds = sum(
            rows * (pace.seconds[kind] if kind in pace.seconds else assumed[kind])
            for kind, rows in work.rows.items()
        )
    return LaunchEstimate(seconds, _basis(plan, pace, missing, assumed), *_memory(plan, pace))


def _assumed_seconds(plan: RoundPlan, pace: Pace, k: int) -> dict[str, float]:
    """Return the seconds of a row by the size of the model; empty if that is unknown."""
    if not pace.parameters:
        return {}
    limit = plan.sampling.max_new_tokens
    sequence = pace.parameters * (pace.prompt_tokens + pace.response_tokens(limit))
    second = FLOPS_GPU if pace.has_gpu else FLOPS_CPU
    extra = 1.0 + LOOKS_SHARE
    sft_share = plan.sft.search_share if plan.sft is not None else 0.0
    operations = {
        "sft": TRAINED * (extra + sft_share),
        "generate": SAMPLED,
        "reward": TRAINED * k * plan.reward.ensemble * (extra + plan.reward.search_share),
        "policy": TRAINED * policy_looks.row_cost(plan.policy) * extra,
        "evaluate": SAMPLED,
    }
    return {kind: count * sequence / second for kind, count in operations.items()}


def _basis(plan: RoundPlan, pace: Pace, missing: list[str], assumed: Mapping[str, float]) -> str:
    jobs = f"measured in {pace.jobs} job{'' if pace.jobs == 1 else 's'} here"
    if not missing:
        return jobs
    before = f"{jobs}; {', '.join(missing)} " if pace.seconds else ""
    if not assumed:
        return f"{before}not measured yet, and the size of the base model is not known"
    device = "a GPU" if pace.has_gpu else "processor cores"
    speed = FLOPS_GPU if pace.has_gpu else FLOPS_CPU
    limit = plan.sampling.max_new_tokens
    why = "" if pace.response_characters else f", a third of the limit of {limit:,}"
    guess = (
        f"assumed from {pace.parameters:,} parameters, prompts of {pace.prompt_tokens:,.0f} "
        f"tokens, responses of {pace.response_tokens(limit):,.0f}{why}, and "
        f"{speed / 1e9:,.0f} billion operations a second on {device}"
    )
    return f"{before}not measured yet; {guess}"


def _memory(plan: RoundPlan, pace: Pace) -> tuple[int | None, str]:
    if pace.bytes is not None:
        return pace.bytes, "the most that a training took here"
    is_full = plan.sft is not None and bool(plan.sft.is_full)
    without = "not measured yet; weights and optimizer in fp32, without activations"
    if pace.bytes_needed and not is_full:
        needed = pace.bytes_needed // 4 if plan.four_bit else pace.bytes_needed
        return needed, without
    if pace.parameters:
        return pace.parameters * (BYTES + STATE_BYTES), without
    return None, "not measured yet, and the size of the base model is not known"


def starter_parameters(plan: RoundPlan) -> int:
    """Return about how many parameters the plan's starter model has."""
    starter = (plan.sft or SftPlan()).starter
    return starter.width * (starter.vocabulary + 12 * starter.width * starter.layers)
