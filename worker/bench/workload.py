"""The fixed work of each row of the bench, written to a folder that both sides read.

Sizes, seeds and data are defined only here, so that neither side can be given an easier task. Needs
only torch and transformers, since peers import it in their own environments.
"""

import importlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

RowName = Literal["reward_k4", "reward_pairs", "ppo", "sampling"]
Dtype = Literal["fp32", "bf16"]
ROWS: tuple[RowName, ...] = ("reward_k4", "reward_pairs", "ppo", "sampling")

PAD_ID = 0
FIRST_WORD_ID = 10  # past the special tokens
LORA_RANK, LORA_ALPHA = 16, 32
SEED = 1
WORK_FILE = "work.json"
MODEL_FOLDER = "model"


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a Llama; without a feed-forward size, that of the starter model's proportions."""

    vocabulary: int = 8192
    width: int = 384
    layers: int = 8
    heads: int = 6
    kv_heads: int | None = None  # None: as many as heads
    feed_forward: int | None = None
    ties_embeddings: bool = True


TINY = Shape(vocabulary=300, width=32, layers=2, heads=2)
GPU_SHAPES: dict[str, Shape] = {
    "0.5b": Shape(151_936, 896, 24, 14, 2, 4864),
    "1b": Shape(128_256, 2048, 16, 32, 8, 8192),
    "8b": Shape(151_936, 4096, 36, 32, 8, 12_288, ties_embeddings=False),
}
"""The sizes of Qwen2.5-0.5B, Llama-3.2-1B and Qwen3-8B, from their published configurations."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The work of a row: the size of a step, and the number of steps.

    A step is a batch: of ranked prompts, of episodes with all epochs on them, or of sampled
    completions. `micro_batch` bounds the sequences per forward pass of the peer and does not affect
    the result; our side has a budget of tokens.
    """

    row: RowName
    dtype: Dtype = "fp32"
    device: str = "cpu"
    shape: Shape = Shape()
    batch: int = 8
    completions: int = 4
    prompt_tokens: tuple[int, int] = (96, 96)  # at least, at most
    response_tokens: int = 64
    epochs: int = 1
    learning_rate: float = 5e-4
    kl_coefficient: float = 0.05
    micro_batch: int = 8
    steps: int = 6  # the first is not timed

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair of a prompt's completions, the better one first."""
        return list(combinations(range(self.completions), 2))


SIZES: dict[RowName, Workload] = {
    "reward_k4": Workload("reward_k4"),
    "reward_pairs": Workload("reward_pairs", batch=16, completions=2, prompt_tokens=(192, 192)),
    "ppo": Workload(
        "ppo", batch=64, completions=1, prompt_tokens=(16, 64), epochs=4, micro_batch=8, steps=4
    ),
    "sampling": Workload("sampling", batch=8, completions=8, prompt_tokens=(192, 192)),
}


_LONG: dict[str, Any] = {"dtype": "bf16", "device": "cuda", "micro_batch": 2, "steps": 4}
GPU_SIZES: dict[RowName, Workload] = {
    "reward_k4": Workload("reward_k4", prompt_tokens=(512, 512), response_tokens=256, **_LONG),
    "reward_pairs": Workload(
        "reward_pairs", batch=16, completions=2, prompt_tokens=(1024, 1024), **_LONG
    ),
    "ppo": Workload(
        "ppo",
        batch=64,
        completions=1,
        prompt_tokens=(1024, 1024),
        response_tokens=512,
        **_LONG,
    ),
    "sampling": Workload(
        "sampling", completions=8, prompt_tokens=(1024, 1024), response_tokens=512, **_LONG
    ),
}
"""The work on a GPU, as long as a round's: a step of PPO is 64 × (1,024 + 512) tokens."""


def tiny(row: RowName) -> Workload:
    """Return a row's work at a size for tests, which takes seconds and gives no useful figures."""
    size = replace(SIZES[row], shape=TINY, batch=4, response_tokens=4, micro_batch=4, steps=3)
    least, most = size.prompt_tokens
    return replace(size, prompt_tokens=(least // 16 + 1, most // 16 + 1))


@dataclass(frozen=True, slots=True)
class WorkPrompt:
    """The ids of a prompt and of its completions, best first; none if they are sampled."""

    ids: list[int]
    completions: list[list[int]]


def draw(work: Workload) -> list[list[WorkPrompt]]:
    """Return the prompts of each step, which depend on the work alone.

    Better completions have more ids from the upper half of the vocabulary, so that there is
    something to learn.
    """
    generator = torch.Generator().manual_seed(SEED)
    is_ranked = work.row.startswith("reward")

    def ids(count: int, share_upper: float) -> list[int]:
        half = (work.shape.vocabulary - FIRST_WORD_ID) // 2
        low = torch.randint(half, (count,), generator=generator)
        upper = (torch.rand(count, generator=generator) < share_upper).long()
        token_ids: list[int] = (FIRST_WORD_ID + low + half * upper).tolist()
        return token_ids

    def prompt() -> WorkPrompt:
        least, most = work.prompt_tokens
        length = int(torch.randint(least, most + 1, (1,), generator=generator))
        shares = [0.6 - 0.2 * rank / max(1, work.completions - 1) for rank in range(4)]
        ranked = shares[: work.completions] if is_ranked else []
        return WorkPrompt(ids(length, 0.5), [ids(work.response_tokens, share) for share in ranked])

    return [[prompt() for _ in range(work.batch)] for _ in range(work.steps)]


def import_llama() -> None:
    """Import the model's code, which would otherwise be counted as memory of the first step."""
    importlib.import_module("transformers.models.llama.modeling_llama")


def write(work: Workload, folder: Path) -> None:
    """Write the work where `read` finds it; the caller saves the model beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WORK_FILE).write_text(json.dumps(asdict(work)))


def read(folder: Path) -> Workload:
    """Return the work in a folder."""
    fields = json.loads((folder / WORK_FILE).read_text())
    fields["shape"] = Shape(**fields["shape"])
    fields["prompt_tokens"] = tuple(fields["prompt_tokens"])
    return Workload(**fields)


@torch.no_grad()
def same_start(parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Initialize LoRA layers equally on both sides: A is seeded by the layer's name, B is zero.

    The names of layers differ by wrapper prefixes; the part from "layers." on is the same.
    """
    for name, parameter in parameters:
        match = re.search(r"layers\.(\d+)\.([\w.]+)\.lora_([AB])\.", name)
        if match is None:
            continue
        if match[3] == "B":
            parameter.zero_()
            continue
        seed = int.from_bytes(f"{match[1]}.{match[2]}".encode(), "big") % 2**63
        generator = torch.Generator().manual_seed(seed)
        bound = parameter.shape[1] ** -0.5
        drawn = torch.rand(parameter.shape, generator=generator) * 2 - 1
        parameter.copy_(drawn * bound)


def head(width: int) -> Tensor:
    """Return the initial score head of both sides, [1, d]."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randn(1, width, generator=generator)
    return torch.div(drawn, float(width + 1) ** 0.5)


@torch.inference_mode()
def nats_per_token(model: Any, sequences: Sequence[Sequence[int]], response_tokens: int) -> float:
    """Return the mean negative log-probability of sampled tokens under the model itself.

    Over many samples it is the cross-entropy between the sampler and the model, so a temperature or
    a filter that the other side does not have would show.
    """
    total = 0.0
    for start in range(0, len(sequences), 8):
        ids = torch.tensor(sequences[start : start + 8], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[:, -response_tokens - 1 : -1].float()
        logprobs = logits.log_softmax(-1).gather(-1, ids[:, -response_tokens:, None])
        total -= float(logprobs.sum())
    return total / (len(sequences) * response_tokens)
