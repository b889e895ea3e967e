"""Judgments as ranked prompts of token ids, from an export that a reward model's job has frozen.

The export is written first and read back, so that an attempt that resumes trains on the same rows
as the first, regardless of later judgments.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.domain.judged_by import JudgedBy
from app.formats import training_rows
from app.formats.training_rows import FrozenRow
from app.models import Export, Split
from app.services.datasets import export_rows, exports
from app.services.project.prompt_search import NO_CATEGORY
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model.models import LoadedModel
from worker.runs import export as export_run
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training import conversations, token_ids
from worker.training.vote_weights import VoteWeights


@dataclass(frozen=True, slots=True)
class FrozenData:
    """The frozen export, its rows, and the held-out rows of the validation split."""

    export: Export
    rows: tuple[FrozenRow, ...]
    heldout: tuple[FrozenRow, ...]


def freeze(
    context: JobContext, project_id: int, title: str, judged_by: JudgedBy = JudgedBy.HUMAN
) -> FrozenData:
    """Freeze the judgments, once per job, and read them back."""
    with context.database.reader() as session:
        export = exports.of_job(session, context.job_id)
    if export is None:
        export = _write(context, project_id, title, judged_by)
    return of_export(context, export)


def of_export(context: JobContext, export: Export) -> FrozenData:
    """Read a frozen export back."""
    folder = context.fetch(export.uri.rsplit("/", 1)[0])
    return FrozenData(export, _read(folder / export_run.DATA), _read(folder / export_run.HELDOUT))


def rankings(
    rows: Iterable[FrozenRow],
    loaded: LoadedModel,
    *,
    instruction: str,
    roots: Mapping[int, int],
    root: int,
    weights: VoteWeights | None = None,
) -> list[RankedPrompt]:
    """Return one ranked prompt per row, in the ids of this model's tokenizer.

    Args:
        rows: of the frozen export.
        loaded: the model to be trained.
        instruction: the project's, added to every prompt.
        roots: the full model of each checkpoint.
        root: that of the model to be trained; token ids of other models are not used.
        weights: of the judgments; None: all equal.

    """
    known, every = weights or VoteWeights(), list(rows)
    # The report on held-out comparisons is cut by these groups.
    has_categories = any(frozen.row.prompt.category for frozen in every)
    return [
        _ranking(
            frozen,
            loaded,
            instruction,
            roots,
            root,
            known,
            {"category": frozen.row.prompt.category or NO_CATEGORY} if has_categories else {},
        )
        for frozen in every
    ]


def criterion_weights(rows: Iterable[FrozenRow]) -> dict[str, float]:
    """Return the weights of the rated criteria, each as in the last row that has it."""
    newest: dict[str, float] = {}
    for frozen in rows:
        newest |= frozen.row.weights
    return newest


def _ranking(
    frozen: FrozenRow,
    loaded: LoadedModel,
    instruction: str,
    roots: Mapping[int, int],
    root: int,
    weights: VoteWeights,
    group: Mapping[str, str],
) -> RankedPrompt:
    row = frozen.row
    prompt = conversations.shared_prompt(
        loaded, row.prompt.messages, instruction, [each.earlier for each in row.candidates]
    )
    completions = [
        token_ids.completion_ids(
            loaded, candidate, is_ours=roots.get(candidate.checkpoint_id or 0) == root
        )
        for candidate in row.candidates
    ]
    return RankedPrompt(
        key=f"comparison-{row.comparison_id}",
        prompt_ids=prompt.prompt_ids,
        completions=prompt.whole(completions),
        leads=tuple(map(len, prompt.leads)),
        pairs=weights.pairs(frozen),
        group={"round": str(frozen.row.round_number or "none"), **group},
        absolutes=weights.absolutes(frozen),
        sources=tuple(candidate.source for candidate in row.candidates),
    )


def _write(context: JobContext, project_id: int, title: str, judged_by: JudgedBy) -> Export:
    options = export_run.training_options(Split.TRAIN, judged_by)
    written = export_run.write(context, project_id, export_rows.TRAINING, options, title)
    heldout = export_run.write(
        context,
        project_id,
        export_rows.TRAINING,
        export_run.training_options(Split.VALIDATION, judged_by),
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
