"""The rows of the benchmark: who is measured against whom, and what must agree.

A row at one precision is a `BenchLine`: both sides' speed, memory, share of the machine's peak and what
they learned, as values for the table and the JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Variant:
    """One of our ways to do a row's work: its key under the row, and what sets it apart."""

    key: str | None = None
    settings: str = "as the peer's"
    arguments: tuple[str, ...] = ()


POLICY_VARIANTS = (
    Variant(None, "value head on the policy's trunk; the peer has a value model", ("policy",)),
    Variant(
        "separate_value", "a value adapter with its own passes, as a job's default", ("value",)
    ),
)


@dataclass(frozen=True, slots=True)
class Learning:
    """Whether both sides did the same work, told from what came of it."""

    agrees: bool
    rule: str
    ours: list[float]
    peer: list[float]

    def to_json(self) -> Json:
        """Return plain values."""
        return {"agrees": self.agrees, "rule": self.rule, "ours": self.ours, "peer": self.peer}


@dataclass(frozen=True, slots=True)
class BenchLine:
    """A row at one precision."""

    work: Workload
    ours: StepFigures
    peer: StepFigures
    peak: float  # operations per second of a large matrix product
    variant: Variant = Variant()

    @property
    def ratio(self) -> float:
        """How many times as fast we are."""
        return self.peer.seconds / self.ours.seconds

    @property
    def memory_ratio(self) -> float:
        """Our peak memory over the peer's, both above their loaded libraries."""
        return self.ours.memory_bytes / self.peer.memory_bytes

    @property
    def learning(self) -> Learning:
        """What both sides learned."""
        return CHECKS[self.work.row](self)

    def to_json(self) -> Json:
        """Return plain values."""
        return {
            "ratio": round(self.ratio, 3),
            "memory_ratio": round(self.memory_ratio, 3),
            "unit": unit_of(self.work),
            "settings": self.variant.settings,
            "ours": _side(self, self.ours),
            "peer": _side(self, self.peer),
            "learning": self.learning.to_json(),
            "held_back_by": held_back_by(self),
        }


def unit_of(work: Workload) -> str:
    """Return what a row counts in a second."""
    return {"ppo": "episodes/s", "sampling": "tokens/s"}.get(work.row, "comparisons/s")


def count_of(work: Workload) -> int:
    """Return how many of them a step has."""
    if work.row == "sampling":
        return work.batch * work.completions * work.response_tokens
    return work.batch


def per_s(line: BenchLine, steps: StepFigures) -> float:
    """Return what a side did in a second, in the row's unit."""
    return count_of(line.work) / steps.seconds


def peer_of(work: Workload, cache: Path, tell: Callable[[str], None]) -> Program:
    """Return the peer's program, its environment made if it is not there yet."""
    if work.row == "sampling":
        return Program(environments.ours(), "worker.bench.peers.generate")
    if work.row == "ppo":
        python = environments.python_of(environments.PPO, cache, tell)
        return Program(python, "worker.bench.peers.trl_ppo")
    python = environments.python_of(environments.REWARD, cache, tell)
    return Program(python, "worker.bench.peers.trl_reward")


def held_back_by(line: BenchLine) -> str:
    """Say in a sentence where our time goes."""
    share = line.ours.flops_per_s / line.peak
    said = f"large matrix products alone would take {share:.0%} of the time"
    phases = [name for name in ("generate", "score", "train") if line.work.row == "ppo"]
    if phases:
        parts = ", ".join(
            f"{name} {line.ours.median_of(f'{name}_s') / line.ours.seconds:.0%}" for name in phases
        )
        said = f"{said}; by phase: {parts}"
    if line.work.row == "sampling":
        return f"{said}; the rest: products of one token a row, the cache, drawing"
    return f"{said}; the rest: attention, small products of the adapters, norms"


def _side(line: BenchLine, steps: StepFigures) -> Json:
    return {
        "per_s": round(per_s(line, steps), 3),
        "seconds": round(steps.seconds, 4),
        "seconds_each": [round(each["seconds"], 4) for each in steps.figures[1:]],
        "flops": steps.figures[0]["flops"],
        "flops_per_s": round(steps.flops_per_s),
        "peak_share": round(steps.flops_per_s / line.peak, 3),
        "memory_bytes": round(steps.memory_bytes),
        "versions": steps.versions,
    }


def _losses_agree(line: BenchLine) -> Learning:
    """Both begin with the same weights and see the same batches: the curves are one."""
    ours, peer = line.ours.curve("loss"), line.peer.curve("loss")
    most = LOSS_TOLERANCE[line.work.dtype]
    agrees = all(abs(a - b) <= most for a, b in zip(ours, peer, strict=True))
    return Learning(agrees, f"the loss of every step within {most}", ours, peer)


def _policies_agree(line: BenchLine) -> Learning:
    """Episodes are sampled, so means agree within their noise.

    A score's spread is about 1. That of an episode's KL is about √(2 KL): a log-ratio that is
    normal has twice its mean as variance. A KL of exactly 0 is a policy that never moved.
    """
    ours, peer = line.ours.curve("score"), line.peer.curve("score")
    most = SIGMAS * sqrt(2.0 / (line.work.batch * len(ours)))
    moved, peers_moved = (side.curve("kl_nats")[-1] for side in (line.ours, line.peer))
    both = abs(moved) + abs(peers_moved)
    most_moved = SIGMAS * sqrt(2.0 * both / line.work.batch)
    has_moved = moved != 0.0 and peers_moved != 0.0
    agrees = abs(fmean(ours) - fmean(peer)) <= most and abs(moved - peers_moved) <= most_moved
    rule = (
        f"the mean score of all episodes within {most:.2f}, and the last batch's KL, "
        f"{moved:.2f} and {peers_moved:.2f} nats, not 0 and within {most_moved:.2f}"
    )
    agrees = agrees and has_moved
    return Learning(agrees, rule, ours, peer)


def _entropies_agree(line: BenchLine) -> Learning:
    ours, peer = line.ours.curve("nats_per_token"), line.peer.curve("nats_per_token")
    most = NATS_TOLERANCE[line.work.dtype]
    agrees = abs(fmean(ours) - fmean(peer)) <= most
    return Learning(agrees, f"nats per token within {most}", ours, peer)


CHECKS: Mapping[RowName, Callable[[BenchLine], Learning]] = {
    "reward_k4": _losses_agree,
    "reward_pairs": _losses_agree,
    "ppo": _policies_agree,
    "sampling": _entropies_agree,
}


def variants_of(work: Workload) -> tuple[Variant, ...]:
    """Return the ways of ours that are measured; the first is the row's own figure."""
    return POLICY_VARIANTS if work.row == "ppo" else (Variant(),)


def programs(work: Workload, cache: Path, tell: Callable[[str], None]) -> Sequence[Program]:
    """Return who takes turns: us, in each of our ways, and the peer last."""
    python = environments.ours()
    ours = [Program(python, OURS, each.arguments) for each in variants_of(work)]
    return [*ours, peer_of(work, cache, tell)]
