"""Answers of a model to a file of prompts, written as they come; a run that was killed goes on.

Lines are in the prompts' order, a chunk of prompts at a time. The chances of an answer depend on
the seed, what its prompt says and its number, so a resumed run writes what the other would have.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.domain.plan import Engine
from app.errors import Conflict, Invalid
from app.formats import jsonl, vertex
from worker import artifacts
from worker.files import models, rows
from worker.files.models import Opened
from worker.files.rows import BadLine, FilePrompt
from worker.files.run_folder import Watcher, differences
from worker.files.source import Source
from worker.orders import Interrupted, Orders
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.model.models import context_tokens
from worker.rlhf.sampling import engines
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import model_card, token_ids

CHUNK_PROMPTS: Final = 32
FORMATS: Final = ("attune", "vertex")

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is to be answered, by which model, how, and where to.

    The engine changes no answer, so a run may go on with the other one.
    """

    model: str
    prompts: Source
    output: Path
    config: SamplingConfig
    instruction: str = ""
    format: str = "attune"
    device: str = "cpu"
    engine: Engine = Engine.STATIC
    four_bit: bool = False

    @property
    def partial(self) -> Path:
        """Where lines wait until all are there."""
        return self.output.with_name(f"{self.output.name}.partial")

    @property
    def manifest(self) -> Path:
        """What lies beside the results, and says how they came about."""
        return self.output.with_name(f"{self.output.name}.manifest.json")

    def identity(self) -> dict[str, Any]:
        """Return what has to be the same for a run to go on."""
        settings = {k: v for k, v in self.config.to_json().items() if k != "batch_size"}
        return {
            "model": models.fingerprint(self.model),
            "prompts": {"file": self.prompts.path.name, "sha256": self.prompts.sha256},
            "instruction": self.instruction,
            "format": self.format,
            "sampling": settings,
            "four_bit": self.four_bit,
        }


@dataclass(frozen=True, slots=True)
class GenerationOutcome:
    """The file, and how many prompts have their answers in it."""

    output: Path
    prompts: int
    lines: int
    resumed_at: int  # prompts that an earlier run had answered
    bad: int

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "output": str(self.output),
            "prompts": self.prompts,
            "lines": self.lines,
            "resumed_at": self.resumed_at,
            "bad_rows": self.bad,
        }


def run(
    request: GenerationRequest, watcher: Watcher, orders: Orders, *, restart: bool = False
) -> GenerationOutcome:
    """Answer the prompts that an earlier run did not; where the file is there, say so.

    Raises:
        Invalid: a line cannot be used, or a prompt leaves no room for its answer.
        Conflict: what is there was asked for otherwise.
        Interrupted: it was told to end; what is written stays, and the same command goes on.
    """
    each = request.config.n if request.format == "vertex" else 1
    known = _claim(request, restart=restart)
    if request.output.exists():
        answered = int(known["answered"])
        return GenerationOutcome(
            request.output, answered, answered * each, answered, int(known["bad_rows"])
        )
    found, bad = rows.prompts(request.prompts)
    opened = models.open_model(request.model, request.device, four_bit=request.four_bit)
    asked, items = _items(opened, found, request, bad)
    with request.partial.open("ab") as file:
        artifacts.lock(file, request.partial)
        resumed_at = _whole_lines(request.partial) // each
        _keep(request.partial, resumed_at * each)
        for at in range(resumed_at, len(asked), CHUNK_PROMPTS):
            chunk = range(at, min(at + CHUNK_PROMPTS, len(asked)))
            lines = _answer(opened, [asked[n] for n in chunk], [items[n] for n in chunk], request)
            file.write(b"".join(jsonl.encode(line) for line in lines))
            file.flush()
            os.fsync(file.fileno())
            watcher.progress(chunk.stop, len(asked), "prompts answered")
            if orders.order is not None and chunk.stop < len(asked):
                raise Interrupted(f"{chunk.stop} of {len(asked)} prompts are answered")
    _finish(request, known | {"answered": len(asked), "bad_rows": len(bad)})
    return GenerationOutcome(request.output, len(asked), len(asked) * each, resumed_at, len(bad))


def _claim(request: GenerationRequest, *, restart: bool) -> dict[str, Any]:
    """Return the account of the run; an earlier one is gone on with only if it is the same."""
    if restart:
        for path in (request.output, request.partial, request.manifest):
            path.unlink(missing_ok=True)
    identity: dict[str, Any] = json.loads(json.dumps(request.identity(), default=str))
    request.output.parent.mkdir(parents=True, exist_ok=True)
    if not request.manifest.exists() and request.output.exists():
        raise Conflict(f"{request.output} is there already; --restart writes it anew")
    has_begun = request.output.exists() or _whole_lines(request.partial)
    if not (request.manifest.exists() and has_begun):
        request.partial.unlink(missing_ok=True)
        artifacts.replace(request.manifest, json.dumps(identity, indent=1) + "\n")
        return identity
    known: dict[str, Any] = json.loads(request.manifest.read_text(encoding="utf-8"))
    different = next(differences({key: known.get(key) for key in identity}, identity), None)
    if different is not None:
        name, old, new = different
        raise Conflict(
            f"{request.output} was begun with {name} {old!r}, not {new!r}; "
            "choose another output, or --restart to begin anew"
        )
    return known


def _items(
    opened: Opened, asked: Sequence[FilePrompt], request: GenerationRequest, bad: list[BadLine]
) -> tuple[list[FilePrompt], list[PromptItem]]:
    """Return the prompts that fit, each with its ids under a key of its own for what it says."""
    tokenizer = opened.roles.loaded.tokenizer
    limit = context_tokens(opened.roles.causal)
    seen: dict[str, int] = {}
    kept, found = list[FilePrompt](), list[PromptItem]()
    for one in asked:
        ids = token_ids.prompt_ids(tokenizer, one.messages, request.instruction)
        room = None if limit is None else limit - len(ids)
        if room is not None and room < request.config.max_new_tokens:
            reason = (
                f"the prompt has {len(ids)} tokens, which leaves {max(room, 0)} of the model's "
                f"{limit} for the answer; {request.config.max_new_tokens} are request"
            )
            if not request.prompts.skip_bad:
                raise Invalid(f"{request.prompts.path}, line {one.line}: {reason}")
            bad.append(BadLine(one.line, reason))
            continue
        again = seen[one.key] = seen.get(one.key, -1) + 1
        found.append(PromptItem(f"{one.key}#{again}" if again else one.key, ids))
        kept.append(one)
    return kept, found


def _answer(
    opened: Opened,
    asked: Sequence[FilePrompt],
    items: Sequence[PromptItem],
    request: GenerationRequest,
) -> Iterator[Line]:
    """Yield the lines of some prompts, in their order."""
    found: dict[str, list[SampledCompletion]] = {}
    questions = [EnginePrompt(item.key, item.prompt_ids) for item in items]
    engine = engines.in_memory(request.engine.value, opened.roles, opened.role)
    for one in engine.generate(questions, request.config):
        found.setdefault(one.prompt_key, []).append(one)
    write = LINES[request.format]
    for prompt, item in zip(asked, items, strict=True):
        answers = sorted(found[item.key], key=lambda one: one.sample_index)
        yield from write(prompt, answers, request)


def _ours(
    prompt: FilePrompt, answers: Sequence[SampledCompletion], request: GenerationRequest
) -> Iterator[Line]:
    head = {} if prompt.source_id is None else {"id": prompt.source_id}
    yield {
        **head,
        "messages": [dict(turn) for turn in prompt.messages],
        "completions": [
            {
                "source": request.model,
                "text": _text(one),
                "finish_reason": one.finish_reason,
                "tokens": len(one.token_ids),
                "logprob_sum": round(one.logprob_sum, 6),
            }
            for one in answers
        ],
        **(prompt.meta or {}),
    }


def _vertex(
    prompt: FilePrompt, answers: Sequence[SampledCompletion], request: GenerationRequest
) -> Iterator[Line]:
    turns = [str(turn["content"]) for turn in prompt.messages]
    said = "\n\n".join([request.instruction, *turns] if request.instruction else turns)
    for one in answers:
        yield vertex.write_result(said, _text(one))


def _text(one: SampledCompletion) -> str:
    return one.text.replace("\x00", "\N{REPLACEMENT CHARACTER}")  # as jobs do; databases keep none


LINES: Final[
    Mapping[
        str, Callable[[FilePrompt, Sequence[SampledCompletion], GenerationRequest], Iterator[Line]]
    ]
] = {
    "attune": _ours,
    "vertex": _vertex,
}


def _whole_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)


def _keep(path: Path, lines: int) -> None:
    """Cut off what a killed run left of its last prompts."""
    with path.open("r+b") as file:
        for _ in range(lines):
            file.readline()
        file.truncate(file.tell())


def _finish(request: GenerationRequest, account: dict[str, Any]) -> None:
    account |= {"versions": model_card.versions(), "sha256": artifacts.hash_of(request.partial)}
    artifacts.replace(request.manifest, json.dumps(account, indent=1) + "\n")
    request.partial.replace(request.output)
