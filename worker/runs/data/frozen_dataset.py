"""Judgments as rankings of token ids, out of an export that a reward model's job has frozen.

The export is written first and read back, so that an attempt that resumes trains on the very rows
the first one saw, whatever people have judged since.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from app.formats import training_rows
from app.formats.training_rows import FrozenRow
from app.models import Export, Split
from app.services.datasets import export_rows, exports
from worker.rlhf.core.examples import RankedPrompt
from worker.runs import export as export_run
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training import token_ids
from worker.training.vote_weights import VoteWeights


@dataclass(frozen=True, slots=True)
class FrozenData:
    """The frozen export, its rows, and those of the validation split that only measure."""

    export: Export
    rows: tuple[FrozenRow, ...]
    heldout: tuple[FrozenRow, ...]


def freeze(context: JobContext, project_id: int, title: str) -> FrozenData:
    """Freeze the judgments, once per job, and read them back."""
    with context.database.reader() as session:
        found = exports.of_job(session, context.job_id)
    if found is None:
        found = _write(context, project_id, title)
    return of_export(context, found)


def of_export(context: JobContext, export: Export) -> FrozenData:
    """Read a frozen export back."""
    folder = context.fetch(export.uri.rsplit("/", 1)[0])
    return FrozenData(export, _read(folder / export_run.DATA), _read(folder / export_run.HELDOUT))


def rankings(
    rows: Iterable[FrozenRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    instruction: str,
    roots: Mapping[int, int],
    root: int,
    weights: VoteWeights | None = None,
) -> list[RankedPrompt]:
    """Return one ranking per row, in the ids of this model's tokenizer.

    Args:
        rows: of the frozen export.
        tokenizer: of the model to be trained.
        instruction: the project's, joined to every prompt.
        roots: the whole model beneath each checkpoint.
        root: that of the model to be trained; ids of others are not its own.
        weights: how much judgments count; None: all the same.

    """
    known = weights or VoteWeights()
    return [_ranking(one, tokenizer, instruction, roots, root, known) for one in rows]


def criterion_weights(rows: Iterable[FrozenRow]) -> dict[str, float]:
    """Return the weights of the criteria that were rated, as the newest row has them."""
    found: dict[str, float] = {}
    for one in rows:
        found |= one.row.weights
    return found


def _ranking(
    one: FrozenRow,
    tokenizer: PreTrainedTokenizerBase,
    instruction: str,
    roots: Mapping[int, int],
    root: int,
    weights: VoteWeights,
) -> RankedPrompt:
    row = one.row
    return RankedPrompt(
        key=f"comparison-{row.comparison_id}",
        prompt_ids=token_ids.prompt_ids(tokenizer, row.prompt.messages, instruction),
        completions=tuple(
            token_ids.completion_ids(
                tokenizer, each, is_ours=roots.get(each.checkpoint_id or 0) == root
            )
            for each in row.candidates
        ),
        pairs=weights.pairs(one),
        group={"round": str(one.row.round_number or "none")},
        absolutes=weights.absolutes(one),
        sources=tuple(each.source for each in row.candidates),
    )


def _write(context: JobContext, project_id: int, title: str) -> Export:
    options = export_run.training_options(Split.TRAIN)
    written = export_run.write(context, project_id, export_rows.TRAINING, options, title)
    heldout = export_run.write(
        context,
        project_id,
        export_rows.TRAINING,
        export_run.training_options(Split.VALIDATION),
        f"{title}, held out",
        folder="heldout",
    )
    (heldout.folder / export_run.DATA).replace(written.folder / export_run.HELDOUT)
    frozen = export_run.publish(context, written)
    with transactions.transaction(context) as session:
        return exports.freeze(
            session, project_id, job_id=context.job_id, options=options, frozen=frozen
        )


def _read(path: Path) -> tuple[FrozenRow, ...]:
    return tuple(training_rows.read(path))
