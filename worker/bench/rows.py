"""The rows of the bench: the programs that are compared, and the check that they learn the same.

A row at one precision is a `BenchLine`: the speed, memory, share of the machine's peak and learning
of both sides, as values for the table and the JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean

from worker.bench import environments
from worker.bench.pairing import Program, StepFigures
from worker.bench.workload import RowName, Workload

OURS = "worker.bench.ours"
LOSS_TOLERANCE = {"fp32": 0.02, "bf16": 0.1}
NATS_TOLERANCE = {"fp32": 0.03, "bf16": 0.06}
SIGMAS = 3.0  # between mean scores of episodes that were sampled independently

JsonObject = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of our side: its key under the row, and its difference from the peer."""

    key: str | None = None
    settings: str = "as the peer's"
    arguments: tuple[str, ...] = ()


POLICY_VARIANTS = (
    Variant(None, "value head on the policy's trunk; the peer has a value model", ("policy",)),
    Variant("separate_value", "a value adapter with its own passes", ("value",)),
)
ROUND = "round"
"""The key of the variant that a round runs by default, which is one of the above."""
ROUND_TRUNK = "policy"
"""Whose trunk its value head reads; a test compares it with the plan, which is not known here."""


@dataclass(frozen=True, slots=True)
class Learning:
    """Whether both sides did the same work, judged by what they learned."""

    agrees: bool
    rule: str
    ours: list[float]
    peer: list[float]

    def to_json(self) -> JsonObject:
        """Return plain values."""
        return {"agrees": self.agrees, "rule": self.rule, "ours": self.ours, "peer": self.peer}


@dataclass(frozen=True, slots=True)
class BenchLine:
    """A row at one precision."""

    work: Workload
    ours: StepFigures
    peer: StepFigures | None
    peak: float  # operations per second of a large matrix product
    variant: Variant = Variant()
    why_alone: str = ""  # why there is no peer

    @property
    def ratio(self) -> float | None:
        """The speed of our side relative to the peer."""
        return None if self.peer is None else self.peer.seconds / self.ours.seconds

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory relative to the peer's, both above their loaded libraries."""
        return None if self.peer is None else self.ours.memory_bytes / self.peer.memory_bytes

    @property
    def learning(self) -> Learning | None:
        """The check of what both sides learned; None without a peer."""
        return None if self.peer is None else CHECKS[self.work.row](self.work, self.ours, self.peer)

    @property
    def differs(self) -> bool:
        """Whether both sides did not learn the same."""
        return self.learning is not None and not self.learning.agrees

    def to_json(self) -> JsonObject:
        """Return plain values; what a peer is missing for is null, with the reason."""
        peer, learning = self.peer, self.learning
        return {
            "ratio": _rounded(self.ratio),
            "memory_ratio": _rounded(self.memory_ratio),
            "unit": unit_of(self.work),
            "settings": self.variant.settings,
            "ours": _side(self, self.ours),
            "peer": {"missing": self.why_alone} if peer is None else _side(self, peer),
            "learning": None if learning is None else learning.to_json(),
            "held_back_by": time_breakdown(self),
        }


def unit_of(work: Workload) -> str:
    """Return the unit of a row's speed."""
    return {"ppo": "episodes/s", "sampling": "tokens/s"}.get(work.row, "comparisons/s")


def count_of(work: Workload) -> int:
    """Return the number of counted items in a step."""
    if work.row == "sampling":
        return work.batch * work.completions * work.response_tokens
    return work.batch


def per_s(line: BenchLine, steps: StepFigures) -> float:
    """Return the speed of a side in the row's unit."""
    return count_of(line.work) / steps.seconds


def peer_of(work: Workload, cache: Path, tell: Callable[[str], None]) -> Program:
    """Return the peer's program; its environment is created if it does not exist."""
    if work.row == "sampling":
        return Program(environments.ours(), "worker.bench.peers.generate")
    if work.row == "ppo":
        python = environments.python_of(environments.PPO, cache, tell)
        return Program(python, "worker.bench.peers.trl_ppo")
    python = environments.python_of(environments.REWARD, cache, tell)
    return Program(python, "worker.bench.peers.trl_reward")


def time_breakdown(line: BenchLine) -> str:
    """Return a description of where our side spends its time."""
    share = line.ours.flops_per_s / line.peak
    description = f"large matrix products alone would take {share:.0%} of the time"
    phases = [name for name in ("generate", "score", "train") if line.work.row == "ppo"]
    if phases:
        parts = ", ".join(
            f"{name} {line.ours.median_of(f'{name}_s') / line.ours.seconds:.0%}" for name in phases
        )
        description = f"{description}; by phase: {parts}"
    if line.work.row == "sampling":
        return f"{description}; the rest: products of one token per row, the cache, drawing"
    return f"{description}; the rest: attention, small products of the adapters, norms"


def _side(line: BenchLine, steps: StepFigures) -> JsonObject:
    return {
        "per_s": round(per_s(line, steps), 3),
        "seconds": round(steps.seconds, 4),
        "seconds_each": [round(step["seconds"], 4) for step in steps.figures[1:]],
        "flops": steps.figures[0]["flops"],
        "flops_per_s": round(steps.flops_per_s),
        "peak_share": round(steps.flops_per_s / line.peak, 3),
        "memory_bytes": round(steps.memory_bytes),
        "versions": steps.versions,
    }


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 3)


def _losses_agree(work: Workload, our_side: StepFigures, peers: StepFigures) -> Learning:
    """Both start with the same weights and see the same batches, so their curves must be equal."""
    ours, peer = our_side.curve("loss"), peers.curve("loss")
    tolerance = LOSS_TOLERANCE[work.dtype]
    agrees = all(abs(a - b) <= tolerance for a, b in zip(ours, peer, strict=True))
    return Learning(agrees, f"the loss of every step within {tolerance}", ours, peer)


def _policies_agree(work: Workload, our_side: StepFigures, peers: StepFigures) -> Learning:
    """Episodes are sampled, so means must agree within their noise.

    The standard deviation of a score is about 1. That of an episode's KL is about √(2 KL): the
    variance of a normal log-ratio is twice its mean. A KL of exactly 0 means that the policy never
    changed.
    """
    ours, peer = our_side.curve("score"), peers.curve("score")
    score_tolerance = SIGMAS * sqrt(2.0 / (work.batch * len(ours)))
    our_kl, peer_kl = (side.curve("kl_nats")[-1] for side in (our_side, peers))
    kl_tolerance = SIGMAS * sqrt(2.0 * (abs(our_kl) + abs(peer_kl)) / work.batch)
    is_moved = our_kl != 0.0 and peer_kl != 0.0
    is_score_near = abs(fmean(ours) - fmean(peer)) <= score_tolerance
    is_kl_near = abs(our_kl - peer_kl) <= kl_tolerance
    rule = (
        f"the mean score of all episodes within {score_tolerance:.2f}, and the last batch's KL, "
        f"{our_kl:.2f} and {peer_kl:.2f} nats, not 0 and within {kl_tolerance:.2f}"
    )
    return Learning(is_moved and is_score_near and is_kl_near, rule, ours, peer)


def _entropies_agree(work: Workload, our_side: StepFigures, peers: StepFigures) -> Learning:
    ours, peer = our_side.curve("nats_per_token"), peers.curve("nats_per_token")
    tolerance = NATS_TOLERANCE[work.dtype]
    agrees = abs(fmean(ours) - fmean(peer)) <= tolerance
    return Learning(agrees, f"nats per token within {tolerance}", ours, peer)


CHECKS: Mapping[RowName, Callable[[Workload, StepFigures, StepFigures], Learning]] = {
    "reward_k4": _losses_agree,
    "reward_pairs": _losses_agree,
    "ppo": _policies_agree,
    "sampling": _entropies_agree,
}


def variants_of(work: Workload) -> tuple[Variant, ...]:
    """Return the variants of our side; the first gives the figure of the row itself.

    On a GPU, where models are large, it is the only one.
    """
    if work.row != "ppo":
        return (Variant(),)
    return POLICY_VARIANTS if work.device == "cpu" else POLICY_VARIANTS[:1]


def as_in_a_round(variant: Variant) -> Variant | None:
    """Return the variant under the key of a round's default if it is that, else None."""
    if variant.arguments != (ROUND_TRUNK,):
        return None
    return replace(variant, key=ROUND, settings=f"a round's default: {variant.settings}")


def programs(work: Workload) -> Sequence[Program]:
    """Return the programs of our side, one for each variant."""
    return [Program(environments.ours(), OURS, each.arguments) for each in variants_of(work)]
