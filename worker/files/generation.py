"""A model's responses to a file of prompts, written as they are sampled; a killed run can resume.

Lines are in the prompts' order, a chunk of prompts at a time. The random numbers of a completion
depend on the seed, the content of its prompt and its index, so a resumed run writes what an
uninterrupted run would have written. Follow-ups of a prompt are asked after each sample's own
responses; the completion is the response to the last, with the turns before it.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.domain.chat_settings import ChatSettings
from app.domain.plan import Engine
from app.domain.server_plan import SamplingServerPlan
from app.errors import Conflict, Invalid
from app.formats import jsonl, vertex
from worker import artifacts, libraries
from worker.files import models, rows, server_access
from worker.files.models import Opened
from worker.files.rows import BadLine, FilePrompt
from worker.files.run_folder import Watcher, differences
from worker.files.source import Source
from worker.orders import Interrupted, Order, Orders
from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.model.models import LoadedModel, context_tokens
from worker.rlhf.model.template import UnfitPrompt
from worker.rlhf.sampling import engines
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import conversations, screening, served_sampling, token_ids
from worker.training.conversations import Question, Response, TurnEngine, Turns

CHUNK_PROMPTS: Final = 32
FORMATS: Final = ("attune", "vertex")

Line = Mapping[str, Any]
Sampled = Response[SampledCompletion]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """The prompts, the model, the sampling settings and the output.

    The engine does not change completions, so a run may be resumed with the other one. A server
    that samples instead has random numbers of its own.
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
    chat: ChatSettings = field(default_factory=ChatSettings)
    server: SamplingServerPlan | None = None

    @property
    def partial(self) -> Path:
        """Where lines are collected until the run is complete."""
        return self.output.with_name(f"{self.output.name}.partial")

    @property
    def manifest(self) -> Path:
        """The file beside the results that records how they were made."""
        return self.output.with_name(f"{self.output.name}.manifest.json")

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to be resumed."""
        settings = {k: v for k, v in self.config.to_json().items() if k != "batch_size"}
        return {
            "model": models.fingerprint(self.model),
            "prompts": {"file": self.prompts.path.name, "sha256": self.prompts.sha256},
            "instruction": self.instruction,
            "format": self.format,
            "sampling": settings,
            "four_bit": self.four_bit,
            **({} if self.chat == ChatSettings() else {"chat": self.chat.to_json()}),
            **({} if self.server is None else {"sampling_server": self.server.url}),
        }


@dataclass(frozen=True, slots=True)
class GenerationOutcome:
    """The file, and the number of prompts whose completions are in it."""

    output: Path
    prompts: int
    lines: int
    resumed_at: int  # prompts that an earlier run had completed
    bad: int

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
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
    """Complete the prompts that an earlier run did not; a finished file is left as it is.

    Raises:
        Invalid: a line cannot be used, or a prompt leaves no room for a completion.
        Conflict: the existing output was made with other settings.
        Interrupted: the run was asked to stop; what is written is kept for the same command.
    """
    per_prompt = request.config.n if request.format == "vertex" else 1
    known = _claim(request, restart=restart)
    if request.output.exists():
        completed = int(known["answered"])
        return GenerationOutcome(
            request.output, completed, completed * per_prompt, completed, int(known["bad_rows"])
        )
    file_prompts, bad = rows.prompts(request.prompts)
    opened = models.open_model(
        request.model,
        request.device,
        four_bit=request.four_bit,
        chat=screening.options_of(request.chat),
    )
    fitting = _questions(opened, file_prompts, request, bad)
    done = 0
    place = GenerationPlace(request.output, watcher, orders)
    with (
        request.partial.open("ab") as file,
        _engine(opened, request, place, lambda: (done, len(fitting))) as engine,
    ):
        artifacts.lock(file, request.partial)
        resumed_at = _whole_lines(request.partial) // per_prompt
        _keep(request.partial, resumed_at * per_prompt)
        for at in range(resumed_at, len(fitting), CHUNK_PROMPTS):
            chunk = range(at, min(at + CHUNK_PROMPTS, len(fitting)))
            done = at
            lines = _complete(opened, engine, [fitting[n] for n in chunk], request)
            file.write(b"".join(jsonl.encode(line) for line in lines))
            file.flush()
            os.fsync(file.fileno())
            watcher.progress(chunk.stop, len(fitting), "prompts completed")
            if orders.order is not None and chunk.stop < len(fitting):
                raise Interrupted(f"{chunk.stop} of {len(fitting)} prompts are completed")
    _finish(request, known | {"answered": len(fitting), "bad_rows": len(bad)})
    return GenerationOutcome(
        request.output, len(fitting), len(fitting) * per_prompt, resumed_at, len(bad)
    )


def _claim(request: GenerationRequest, *, restart: bool) -> dict[str, Any]:
    """Return the run's manifest; an earlier run is resumed only if its settings are the same."""
    if restart:
        for path in (request.output, request.partial, request.manifest):
            path.unlink(missing_ok=True)
    identity: dict[str, Any] = json.loads(json.dumps(request.identity(), default=str))
    request.output.parent.mkdir(parents=True, exist_ok=True)
    if not request.manifest.exists() and request.output.exists():
        raise Conflict(f"{request.output} already exists; --restart overwrites it")
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
            f"{request.output} was started with {name} {old!r}, not {new!r}; "
            "choose another output, or --restart to start over"
        )
    return known


def _questions(
    opened: Opened,
    file_prompts: Sequence[FilePrompt],
    request: GenerationRequest,
    bad: list[BadLine],
) -> list[tuple[FilePrompt, Question]]:
    """Return the prompts that fit, each as a question under a key from its content."""
    loaded = opened.roles.loaded
    limit = context_tokens(opened.roles.causal)
    seen: dict[str, int] = {}
    kept = list[tuple[FilePrompt, Question]]()
    for prompt in file_prompts:
        reason = _unfit(loaded, prompt, request, limit)
        if reason:
            if not request.prompts.skip_bad:
                raise Invalid(f"{request.prompts.path}, line {prompt.line}: {reason}")
            bad.append(BadLine(prompt.line, reason))
            continue
        again = seen[prompt.key] = seen.get(prompt.key, -1) + 1
        key = f"{prompt.key}#{again}" if again else prompt.key
        kept.append((prompt, replace(prompt.question, key=key)))
    return kept


def _unfit(
    loaded: LoadedModel, prompt: FilePrompt, request: GenerationRequest, limit: int | None
) -> str:
    """Return the reason why a prompt cannot be used, or nothing."""
    if prompt.follow_up and request.format == "vertex":
        return "a file of Vertex results holds one turn; the prompt has a follow-up"
    try:
        ids = token_ids.prompt_ids(loaded, prompt.question.skeleton, request.instruction)
    except UnfitPrompt as error:
        return f"the model's chat template refuses the prompt ({error})"
    room = None if limit is None else limit - len(ids)
    tokens = request.config.max_new_tokens * (1 + len(prompt.follow_up))
    if room is None or room >= tokens:
        return ""
    what = "the responses to its turns" if prompt.follow_up else "the response"
    return (
        f"the prompt has {len(ids)} tokens, which leaves {max(room, 0)} of the model's "
        f"{limit} for {what}; {tokens} are needed"
    )


@contextmanager
def _engine(
    opened: Opened,
    request: GenerationRequest,
    place: "GenerationPlace",
    progress: Callable[[], tuple[int, int]],
) -> Iterator[TurnEngine[SampledCompletion]]:
    """Open what samples: the model in memory, or the server that has it."""
    if request.server is None:
        yield engines.in_memory(request.engine.value, opened.roles, opened.role)
        return
    access = server_access.of(place.run_name, request.server)
    with served_sampling.engine(
        place, opened.roles, opened.role, access, "model", progress
    ) as engine:
        yield engine


@dataclass(frozen=True, slots=True)
class GenerationPlace:
    """A run of this command, as it waits for a server; a `served_sampling.WaitingPlace`."""

    output: Path
    watcher: Watcher
    orders: Orders

    @property
    def title(self) -> str:
        """The name of the run in messages."""
        return f"the run for {self.output}"

    @property
    def run_name(self) -> str:
        """The name of the run where several share a folder."""
        return server_access.name_of(self.output)

    @property
    def is_first(self) -> bool:
        """Whether this process publishes: there is no other."""
        return True

    def report(self, done: int, total: int, note: str = "") -> None:
        """Show the progress of the run."""
        self.watcher.progress(done, total, note)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def should_stop(self) -> Order | None:
        """Return the order in force."""
        return self.orders.order

    def say(self, text: str) -> None:
        """Show a sentence."""
        self.watcher.say(text)


def _complete(
    opened: Opened,
    engine: TurnEngine[SampledCompletion],
    prompts: Sequence[tuple[FilePrompt, Question]],
    request: GenerationRequest,
) -> Iterator[Line]:
    """Yield the lines of some prompts, in order."""
    by_prompt: dict[str, list[Sampled]] = {}

    def render(key: str, turns: Turns) -> EnginePrompt | None:
        tokens = request.config.max_new_tokens
        return conversations.prompt_of(opened.roles, key, turns, request.instruction, tokens)

    for response in conversations.respond(
        engine,
        [question for _, question in prompts],
        request.config,
        render,
        opened.roles.loaded.chat.thought_end,
    ):
        by_prompt.setdefault(response.key, []).append(response)
    write = LINES[request.format]
    for prompt, question in prompts:
        own = by_prompt.get(question.key, [])
        yield from write(prompt, sorted(own, key=lambda one: one.sample_index), request)


def _ours(
    prompt: FilePrompt, responses: Sequence[Sampled], request: GenerationRequest
) -> Iterator[Line]:
    head = {} if prompt.source_id is None else {"id": prompt.source_id}
    yield {
        **head,
        "messages": [dict(turn) for turn in prompt.messages],
        "completions": [
            {
                "source": request.model,
                "text": _text(response.completion),
                "finish_reason": "eos" if response.is_finished else "length",
                "tokens": len(response.completion.token_ids),
                "logprob_sum": round(response.completion.logprob_sum, 6),
                **({"earlier": list(response.earlier)} if response.earlier else {}),
            }
            for response in responses
        ],
        **(prompt.meta or {}),
    }


def _vertex(
    prompt: FilePrompt, responses: Sequence[Sampled], request: GenerationRequest
) -> Iterator[Line]:
    turns = [str(turn["content"]) for turn in prompt.messages]
    inputs = "\n\n".join([request.instruction, *turns] if request.instruction else turns)
    for response in responses:
        yield vertex.write_result(inputs, _text(response.completion))


def _text(completion: SampledCompletion) -> str:
    return completion.text.replace("\x00", "\N{REPLACEMENT CHARACTER}")  # as in jobs


LINES: Final[
    Mapping[str, Callable[[FilePrompt, Sequence[Sampled], GenerationRequest], Iterator[Line]]]
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
    """Truncate what a killed run left of its last prompts."""
    with path.open("r+b") as file:
        for _ in range(lines):
            file.readline()
        file.truncate(file.tell())


def _finish(request: GenerationRequest, account: dict[str, Any]) -> None:
    account |= {"versions": libraries.versions(), "sha256": artifacts.hash_of(request.partial)}
    artifacts.replace(request.manifest, json.dumps(account, indent=1) + "\n")
    request.partial.replace(request.output)
