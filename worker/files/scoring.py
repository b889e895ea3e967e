"""Scores of responses in files: of models sampled on prompts, of a file, or of judged pairs.

Responses that are sampled are kept beside the scores under a name from their model, prompts and
settings, so that the same command, or another scorer, uses them again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from transformers import AutoTokenizer

from app.domain import score_figures, splits
from app.domain.chat_settings import ChatSettings
from app.domain.reward_parts import PartKind, RewardPart
from app.domain.score_figures import ScoreSummary
from app.errors import Invalid
from app.formats import fields, jsonl, scored_responses
from app.formats.scored_responses import FileRow, FileRows
from worker import artifacts
from worker.files import generation, reward_access
from worker.files.generation import GenerationRequest
from worker.files.run_folder import Watcher
from worker.files.source import Source
from worker.orders import Interrupted, Orders
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import model_folders, text_scores
from worker.training.text_scores import ScoredText

SCORES: Final = "scores.jsonl"
SUMMARY: Final = "summary.json"
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """What to score, by what, and where to write; without models, a file of responses.

    `tokenizer` is the model whose tokens a length rule counts; by default the first one sampled.
    """

    source: Source
    scorer: RewardPart
    models: tuple[str, ...] = ()
    output: Path | None = None
    config: SamplingConfig = field(default_factory=SamplingConfig)
    instruction: str = ""
    chat: ChatSettings = field(default_factory=ChatSettings)
    threshold: float | None = None
    tokenizer: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse models without a folder for their responses."""
        if self.models and self.output is None:
            raise Invalid("responses are sampled into a folder: name it with --output")


@dataclass(frozen=True, slots=True)
class ScoringOutcome:
    """The figures, and what was left out or not read whole."""

    scorer: str
    summary: ScoreSummary
    remarks: tuple[str, ...]
    output: Path | None

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {
            "scorer": self.scorer,
            **self.summary.to_json(),
            "remarks": list(self.remarks),
            "output": None if self.output is None else str(self.output),
        }


def run(request: ScoringRequest, watcher: Watcher, orders: Orders) -> ScoringOutcome:
    """Sample the models' responses where they are not kept, and score.

    Raises:
        Invalid: the file has nothing to score, or the scorer or a model cannot be used.
        Interrupted: the run was asked to stop; sampled responses are kept.
    """
    found = _sampled(request, watcher, orders) if request.models else _read(request.source)
    count = _counter(request)
    watcher.say("Loading the scorer …")
    scorer = text_scores.open_scorer(
        request.scorer,
        reward_access.sources(),
        device=request.device,
        instruction=request.instruction,
        thought_end=request.chat.thought_end,
        count=count,
    )
    items = [(row, side) for row in range(len(found.rows)) for side in found.rows[row].texts]
    scores: dict[tuple[int, str], float | None] = {}
    for at in range(0, len(items), text_scores.BATCH):
        if orders.order is not None:
            raise Interrupted(f"{at} of {len(items)} responses were scored")
        batch = items[at : at + text_scores.BATCH]
        drawn = scorer.score([_response(found.rows[row], side) for row, side in batch])
        scores |= dict(zip(batch, drawn, strict=True))
        watcher.progress(len(scores), len(items), "responses scored")
    summary = score_figures.summarize(
        found.sides,
        [[scores.get((row, side)) for row in range(len(found.rows))] for side in found.sides],
        request.threshold,
        [row.subset for row in found.rows] if found.is_judged else None,
    )
    remarks = list(found.remarks)
    remarks += scorer.remarks
    outcome = ScoringOutcome(scorer.title, summary, tuple(remarks), request.output)
    if request.output is not None:
        _write(request.output, found, scores, outcome)
    return outcome


def _read(source: Source) -> FileRows:
    try:
        return scored_responses.read(_chunks(source.existing), source.format)
    except Invalid as error:
        hint = "" if "without a response" not in str(error) else "; --model samples responses"
        raise Invalid(f"{source.path}: {error}{hint}") from error


def _sampled(request: ScoringRequest, watcher: Watcher, orders: Orders) -> FileRows:
    """Return the models' responses to the prompts of a file, one side per model."""
    together: dict[str, FileRow] = {}
    whole = FileRows(sides=list(request.models))
    for model in request.models:
        drawn = _responses_of(request, model, watcher, orders)
        for row in scored_responses.read(_chunks(drawn.output)).rows:
            ((side, text),) = row.texts.items()
            turns = row.earlier.get(side, ())
            asked = [*row.messages, *(turn for turn in turns if turn.role == "user")]
            key = splits.content_hash((turn.role, turn.content) for turn in asked)
            before = together.get(key, FileRow(row.line, row.messages, {}))
            if model in before.texts:
                whole.leave_out("a prompt that appeared before")
            together[key] = replace(
                row,
                texts={model: text, **before.texts},
                earlier={**({model: turns} if turns else {}), **before.earlier},
            )
        if drawn.bad:
            whole.leave_out(f"prompts that {model} cannot respond to", drawn.bad)
    whole.rows = list(together.values())
    return whole


def _responses_of(
    request: ScoringRequest, model: str, watcher: Watcher, orders: Orders
) -> generation.GenerationOutcome:
    assert request.output is not None  # checked when the request was made
    asked = GenerationRequest(
        model=model,
        prompts=request.source,
        output=request.output,
        config=request.config,
        instruction=request.instruction,
        device=request.device,
        chat=request.chat,
    )
    identity = json.dumps(asked.identity(), sort_keys=True, default=str)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    watcher.say(f"Responses of {model} …")
    kept = request.output / "responses" / f"{Path(model).name}-{digest}.jsonl"
    return generation.run(replace(asked, output=kept), watcher, orders)


def _response(row: FileRow, side: str) -> ScoredText:
    return ScoredText(fields.as_messages(row.turns_before(side)), row.texts[side])


def _counter(request: ScoringRequest) -> Callable[[str], int] | None:
    """Return what counts tokens for a length rule, if it is known whose count."""
    name = request.tokenizer or next(iter(request.models), None)
    if request.scorer.kind is not PartKind.LENGTH or name is None:
        return None
    folder = Path(model_folders.located(name))
    base = model_folders.base_of(folder) if (folder / model_folders.ADAPTER).is_file() else folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(base))
    except (OSError, ValueError) as error:
        reason = model_folders.first_line(error)
        raise Invalid(f"the tokenizer of {name} cannot be loaded: {reason}") from error
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _write(
    folder: Path,
    found: FileRows,
    scores: Mapping[tuple[int, str], float | None],
    outcome: ScoringOutcome,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = b"".join(jsonl.encode(line) for line in _lines(found, scores))
    artifacts.replace(folder / SCORES, lines.decode())
    artifacts.replace(folder / SUMMARY, json.dumps(outcome.to_json(), indent=1) + "\n")


def _lines(
    found: FileRows, scores: Mapping[tuple[int, str], float | None]
) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(found.rows):
        yield {
            "messages": fields.as_messages(row.messages),
            **({"subset": row.subset} if row.subset else {}),
            "responses": [
                {
                    "source": side,
                    "text": text,
                    **_earlier(row, side),
                    "score": scores[number, side],
                }
                for side, text in row.texts.items()
            ],
        }


def _earlier(row: FileRow, side: str) -> Mapping[str, Any]:
    turns = row.earlier.get(side)
    return {"earlier": fields.as_messages(turns)} if turns else {}


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
