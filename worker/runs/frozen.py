"""Judgments as rankings of token ids, out of an export that a reward model's job has frozen.

The export is written first and read back, so that an attempt that resumes trains on the very rows
the first one saw, whatever people have judged since.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from app.models import Export, Split
from app.services import export_rows, exports, training_rows
from app.services.judged import TrainingPair
from app.services.training_rows import FrozenRow
from worker.rlhf.data import Pair, Ranking
from worker.runs import export as export_run
from worker.runs import held, texts
from worker.runs.context import JobContext

STRENGTHS = 4


@dataclass(frozen=True, slots=True)
class Data:
    """The frozen export, its rows, and those of the validation split that only measure."""

    export: Export
    rows: tuple[FrozenRow, ...]
    heldout: tuple[FrozenRow, ...]


def freeze(context: JobContext, project_id: int, title: str) -> Data:
    """Freeze the judgments, once per job, and read them back."""
    with context.database.reader() as session:
        found = exports.of_job(session, context.job_id)
    if found is None:
        found = _write(context, project_id, title)
    folder = context.fetch(found.uri.rsplit("/", 1)[0])
    return Data(found, _read(folder / export_run.DATA), _read(folder / export_run.HELDOUT))


def rankings(
    rows: Iterable[FrozenRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    instruction: str,
    roots: Mapping[int, int],
    root: int,
) -> list[Ranking]:
    """Return one ranking per row, in the ids of this model's tokenizer.

    Args:
        rows: of the frozen export.
        tokenizer: of the model to be trained.
        instruction: the project's, joined to every prompt.
        roots: the whole model beneath each checkpoint.
        root: that of the model to be trained; ids of others are not its own.

    """
    return [_ranking(one, tokenizer, instruction, roots, root) for one in rows]


def margin_of(pair: TrainingPair) -> float:
    """Return by how much the winner should lead: 0 if negligible, 1 if strong, less if split."""
    if pair.strength is None:
        return 0.0
    return (pair.strength - 1) / (STRENGTHS - 1) * abs(2 * pair.share - 1)


def _ranking(
    one: FrozenRow,
    tokenizer: PreTrainedTokenizerBase,
    instruction: str,
    roots: Mapping[int, int],
    root: int,
) -> Ranking:
    row = one.row
    return Ranking(
        key=f"comparison-{row.comparison_id}",
        prompt_ids=texts.prompt_ids(tokenizer, row.prompt.messages, instruction),
        completions=tuple(
            texts.completion_ids(
                tokenizer, each, is_ours=roots.get(each.checkpoint_id or 0) == root
            )
            for each in row.candidates
        ),
        pairs=tuple(
            Pair(pair.first, pair.second, pair.share, margin_of(pair)) for pair in row.pairs
        ),
        group=_group(one),
    )


def _group(one: FrozenRow) -> Mapping[str, str]:
    strengths = [vote.strength for vote in one.votes if vote.strength is not None]
    sources = sorted({candidate.source for candidate in one.row.candidates})
    return {
        "round": str(one.row.round_number or "none"),
        "sources": " / ".join(sources),
        "strength": str(round(fmean(strengths))) if strengths else "none",
    }


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
    with held.transaction(context) as session:
        return exports.freeze(
            session, project_id, job_id=context.job_id, options=options, frozen=frozen
        )


def _read(path: Path) -> tuple[FrozenRow, ...]:
    return tuple(training_rows.read(path))


def votes_of(rows: Sequence[FrozenRow]) -> int:
    """Count the votes behind some rows."""
    return sum(len(one.votes) for one in rows)
