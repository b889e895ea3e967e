"""Judged comparisons, read page by page: the one source of training data and exports.

Only judgments that count are included (see `counted_judgments`); what is left out is counted with
its reason. Writing files is up to `export_rows`, making tensors up to the worker.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Pick, Ranking, Side
from app.formats.training_rows import DatasetPrompt, JudgedCompletion
from app.models import (
    Adjudication,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    Membership,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.datasets import judged_comparisons
from app.services.datasets.judged_comparisons import (
    Counts,
    ExportOptions,
    JudgedComparison,
    JudgedPage,
    Voted,
)
from app.services.project import criteria, instructions
from app.services.queue import counted_judgments

PAGE = 200


def read_page(
    session: Session,
    project_id: int,
    options: ExportOptions,
    counts: Counts,
    *,
    after: int = 0,
    limit: int = PAGE,
) -> JudgedPage:
    """Return the next comparisons by id; a long export reads each page in a session of its own."""
    selected = _comparisons(session, project_id, options, after, limit)
    if not selected:
        return JudgedPage((), None)
    ids = [comparison.id for comparison, _, _ in selected]
    weights = criteria.weights(session, project_id)
    texts = instructions.texts(session, project_id)
    votes = _votes(session, project_id, ids, counts, weights)
    candidates = _candidates(session, ids)
    settled = _settled(session, ids)
    rows: list[JudgedComparison] = []
    for comparison, prompt, number in selected:
        row = JudgedComparison(
            comparison_id=comparison.id,
            kind=JudgmentKind(comparison.kind),
            purpose=Purpose(comparison.purpose),
            round_number=number,
            prompt=_prompt_text(prompt),
            candidates=tuple(candidates[comparison.id]),
            votes=tuple(votes[comparison.id]),
            settled=settled.get(comparison.id),
            weights=_weights_of(votes[comparison.id], weights),
            instructions=texts,
        )
        if _counts_in(row, comparison, options, comparison.id in settled, counts):
            rows.append(row)
    return JudgedPage(tuple(rows), ids[-1] if len(ids) == limit else None)


def _counts_in(
    row: JudgedComparison,
    comparison: Comparison,
    options: ExportOptions,
    is_adjudicated: bool,
    counts: Counts,
) -> bool:
    reason = None
    if comparison.is_withdrawn:
        reason = judged_comparisons.WITHDRAWN
    elif is_adjudicated and not options.include_adjudicated:
        reason = judged_comparisons.ADJUDICATED
    elif not row.votes:
        reason = judged_comparisons.UNJUDGED
    if reason is None:
        counts.comparisons += 1
        counts.judgments += len(row.votes)
        return True
    counts.comparisons_out[reason] += 1
    if row.votes:
        counts.judgments_out[reason] += len(row.votes)
    return False


def _comparisons(
    session: Session, project_id: int, options: ExportOptions, after: int, limit: int
) -> list[tuple[Comparison, Prompt, int | None]]:
    conditions: list[ColumnElement[bool]] = [
        Comparison.project_id == project_id,
        Comparison.id > after,
        Comparison.purpose.in_(options.purposes),
        Prompt.split.in_(options.splits),
    ]
    if options.rounds:
        conditions.append(Round.number.in_(options.rounds))
    query = (
        select(Comparison, Prompt, Round.number)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .where(*conditions)
        .order_by(Comparison.id)
        .limit(limit)
    )
    return [(comparison, prompt, number) for comparison, prompt, number in session.execute(query)]


def _votes(
    session: Session,
    project_id: int,
    comparison_ids: Sequence[int],
    counts: Counts,
    weights: Mapping[str, float],
) -> dict[int, list[Voted]]:
    member = (Membership.user_id == Judgment.labeler_id) & (Membership.project_id == project_id)
    query = (
        select(Judgment, Membership.pseudonym)
        .join(Membership, member, isouter=True)
        .where(Judgment.comparison_id.in_(comparison_ids), Judgment.is_current)
        .order_by(Judgment.id)
    )
    votes: dict[int, list[Voted]] = defaultdict(list)
    for judgment, pseudonym in session.execute(query):
        if not counted_judgments.is_filling_slot(judgment):
            counts.judgments_out[
                judged_comparisons.RETRACTED
                if judgment.is_retraction
                else judged_comparisons.SURPLUS
            ] += 1
            continue
        votes[judgment.comparison_id].append(_voted(judgment, pseudonym or "L0", weights))
    return votes


def _voted(judgment: Judgment, pseudonym: str, weights: Mapping[str, float]) -> Voted:
    return Voted(
        judgment_id=judgment.id,
        labeler=pseudonym,
        ranking=ranking_of(judgment, weights),
        strength=judgment.strength,
        both_bad=judgment.both_bad,
        ratings=judgment.ratings,
        text=judgment.text,
        flags=tuple(judgment.flags),
        comment=judgment.comment,
        shown_order=tuple(judgment.shown_order),
        guidelines_version=judgment.guidelines_version,
        started_at=judgment.started_at,
        submitted_at=judgment.submitted_at,
        active_ms=judgment.active_ms,
        thumb=judgment.thumb,
        reasons=tuple(judgment.reasons),
        instruction_version=judgment.instruction_version,
    )


def ranking_of(
    judgment: Judgment | Adjudication, weights: Mapping[str, float] | None = None
) -> Ranking | None:
    """Return the ranking that a judgment implies, by canonical position, if it implies one."""
    if judgment.preferred is not None:
        return Pick(Side(judgment.preferred)).ranking
    if judgment.ranking:
        return Ranking(tuple(judgment.ranking))
    ratings = getattr(judgment, "ratings", None)
    if not ratings:
        return None
    totals = _weighted_totals(ratings, weights or {})
    return Ranking.of_positions([-total for total in totals]) if len(totals) > 1 else None


def _weighted_totals(
    ratings: Mapping[str, Sequence[float]], weights: Mapping[str, float]
) -> list[float]:
    """Return the weighted sum of each completion's ratings."""
    columns = [
        [weights.get(name, 1.0) * value for value in values] for name, values in ratings.items()
    ]
    return [round(sum(column), 9) for column in zip(*columns, strict=True)]


def _weights_of(votes: Iterable[Voted], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of the criteria that the votes rate."""
    rated = {name for vote in votes for name in vote.ratings or ()}
    return {name: weights.get(name, 1.0) for name in sorted(rated)}


def _candidates(
    session: Session, comparison_ids: Sequence[int]
) -> dict[int, list[JudgedCompletion]]:
    query = (
        select(ComparisonCompletion.comparison_id, Completion)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(comparison_ids))
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    candidates: dict[int, list[JudgedCompletion]] = defaultdict(list)
    for comparison_id, completion in session.execute(query):
        candidates[comparison_id].append(_candidate(completion))
    return candidates


def _candidate(completion: Completion) -> JudgedCompletion:
    ids = completion.token_ids
    return JudgedCompletion(
        completion.id,
        completion.text,
        None if ids is None else tuple(ids),
        completion.is_finished,
        completion.source,
        completion.checkpoint_id,
    )


def _settled(session: Session, comparison_ids: Sequence[int]) -> dict[int, Ranking | None]:
    query = select(Adjudication).where(
        Adjudication.comparison_id.in_(comparison_ids), Adjudication.is_current
    )
    return {row.comparison_id: ranking_of(row) for row in session.scalars(query)}


def _prompt_text(prompt: Prompt) -> DatasetPrompt:
    return DatasetPrompt(
        prompt.id, tuple(prompt.messages), Split(prompt.split), prompt.content_hash, prompt.source
    )
