"""Judged comparisons, read page by page: the one source of training data and exports.

Only judgments that count are included (see `counted_judgments`); everything else in the project is
counted with its reason. Writing files is up to `export_rows`, making tensors up to the worker.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    case,
    func,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Pick, Ranking, Side
from app.formats.manifest import Counts
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
    ExportOptions,
    JudgedComparison,
    JudgedPage,
    Voted,
)
from app.services.project import criteria, prompt_search

PAGE = 2_000

_PICKED = {str(side): Pick(side).ranking for side in Side}


@dataclass(frozen=True, slots=True)
class Details:
    """What a format needs beyond what was preferred; the rest is not read from the database."""

    token_ids: bool = True
    votes: bool = True  # flags, comments, times and the order on screen


def read_page(
    session: Session,
    project_id: int,
    options: ExportOptions,
    counts: Counts,
    *,
    after: int = 0,
    limit: int = PAGE,
    details: Details | None = None,
) -> JudgedPage:
    """Return the next comparisons by id; a long export reads each page in a session of its own.

    Each comparison and judgment of the page is counted as considered, and those that do not count
    as excluded. The caller counts what it exports of the rest, or why it does not.
    """
    wanted = details or Details()
    selected = _comparisons(session, project_id, options, after, limit)
    if not selected:
        return JudgedPage((), None)
    ids = [row[0] for row in selected]
    weights = criteria.weights(session, project_id)
    votes = _votes(session, project_id, ids, counts, weights, with_details=wanted.votes)
    candidates = _candidates(session, ids, with_token_ids=wanted.token_ids)
    settled = _settled(session, ids)
    rows: list[JudgedComparison] = []
    for id, kind, purpose, is_withdrawn, round_number, *prompt in map(tuple, selected):
        own = votes.get(id, ())
        reason = _reason(
            is_withdrawn=is_withdrawn,
            is_left_out=id in settled and not options.include_adjudicated,
            has_votes=bool(own),
        )
        counts.comparisons.considered += 1
        if reason is not None:
            counts.comparisons.exclude(reason)
            counts.judgments.exclude(reason, len(own))
            continue
        row = JudgedComparison(
            comparison_id=id,
            kind=JudgmentKind(kind),
            purpose=Purpose(purpose),
            round_number=round_number,
            prompt=_prompt(*prompt),
            candidates=tuple(candidates.get(id, ())),
            votes=tuple(own),
            settled=settled.get(id),
            weights=_weights_of(own, weights),
            is_settled_as_bad=id in settled and settled[id] is None,
        )
        rows.append(row)
    return JudgedPage(tuple(rows), ids[-1] if len(ids) == limit else None)


def count_outside(
    session: Session, project_id: int, options: ExportOptions, counts: Counts
) -> None:
    """Count the comparisons and judgments of the project that the options do not ask for."""
    inside = and_(*_conditions(project_id, options))
    labels = prompt_search.is_labelled(project_id, options.categories, options.tags)
    is_labelled = case((and_(true(), *labels), 1), else_=0).label("is_labelled")
    groups: tuple[Any, ...] = (Comparison.purpose, Prompt.split, Round.number, is_labelled)
    comparisons = _joined(select(*groups, func.count(Comparison.id)).select_from(Comparison)).where(
        Comparison.project_id == project_id, or_(inside.is_(None), ~inside)
    )
    for *group, count in session.execute(comparisons.group_by(*groups)):
        counts.comparisons.skip(_outside(options, *group), count)
    judgments = (
        _joined(
            select(*groups, func.count(Judgment.id))
            .select_from(Judgment)
            .join(Comparison, Comparison.id == Judgment.comparison_id)
        )
        .where(
            Judgment.project_id == project_id,
            Judgment.is_current,
            or_(inside.is_(None), ~inside),
        )
        .group_by(*groups)
    )
    for *group, count in session.execute(judgments):
        counts.judgments.skip(_outside(options, *group), count)


def _outside(
    options: ExportOptions, purpose: str, split: str, round_number: int | None, is_labelled: int
) -> str:
    if purpose not in options.purposes:
        return f"purpose {purpose}"
    if split not in options.splits:
        return f"split {split}"
    if not is_labelled:
        return judged_comparisons.OTHER_LABEL
    return "in no round" if round_number is None else f"round {round_number}"


def _reason(*, is_withdrawn: bool, is_left_out: bool, has_votes: bool) -> str | None:
    """Return why a comparison is not exported in any format, or None."""
    if is_withdrawn:
        return judged_comparisons.WITHDRAWN
    if is_left_out:
        return judged_comparisons.ADJUDICATED
    return None if has_votes else judged_comparisons.UNJUDGED


def _conditions(project_id: int, options: ExportOptions) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        Comparison.purpose.in_(options.purposes),
        Prompt.split.in_(options.splits),
    ]
    if options.rounds:
        conditions.append(Round.number.in_(options.rounds))
    conditions += prompt_search.is_labelled(project_id, options.categories, options.tags)
    return conditions


def _joined(query: Select[Any]) -> Select[Any]:
    """Join a comparison's prompt, and its round if it has one."""
    return query.join(Prompt, Prompt.id == Comparison.prompt_id).join(
        Round, Round.id == Comparison.round_id, isouter=True
    )


def _comparisons(
    session: Session, project_id: int, options: ExportOptions, after: int, limit: int
) -> Sequence[Row[Any]]:
    columns: tuple[Any, ...] = (
        *(Comparison.id, Comparison.kind, Comparison.purpose, Comparison.is_withdrawn),
        Round.number,
        *(Prompt.id, Prompt.messages, Prompt.split, Prompt.content_hash, Prompt.source),
        Prompt.category,
    )
    query = (
        _joined(select(*columns).select_from(Comparison))
        .where(
            Comparison.project_id == project_id,
            Comparison.id > after,
            *_conditions(project_id, options),
        )
        .order_by(Comparison.id)
        .limit(limit)
    )
    return session.execute(query).all()


_SAID = (
    *(Judgment.id, Judgment.comparison_id, Judgment.labeler_id),
    *(Judgment.is_retraction, Judgment.is_surplus),
    *(Judgment.preferred, Judgment.ranking, Judgment.ratings, Judgment.strength),
    *(Judgment.both_bad, Judgment.text, Judgment.thumb, Judgment.guidelines_version),
)
_DETAILS = (
    *(Judgment.flags, Judgment.comment, Judgment.shown_order, Judgment.reasons),
    *(Judgment.started_at, Judgment.submitted_at, Judgment.active_ms),
)
_NO_DETAILS = ((), "", (), (), None, None, 0)


def _votes(
    session: Session,
    project_id: int,
    comparison_ids: Sequence[int],
    counts: Counts,
    weights: Mapping[str, float],
    *,
    with_details: bool,
) -> dict[int, list[Voted]]:
    members = select(Membership.user_id, Membership.pseudonym)
    members = members.where(Membership.project_id == project_id)
    pseudonyms: dict[int, str] = dict(session.execute(members).all())
    columns = (*_SAID, *_DETAILS) if with_details else _SAID
    query = (
        select(*columns)
        .where(Judgment.comparison_id.in_(comparison_ids), Judgment.is_current)
        .order_by(Judgment.id)
    )
    votes: dict[int, list[Voted]] = defaultdict(list)
    considered = 0
    for row in session.execute(query):
        considered += 1
        id, comparison_id, labeler_id, is_retraction, is_surplus = row[:5]
        if is_retraction or is_surplus:  # as in `counted_judgments.fills_slot`
            counts.judgments.exclude(
                judged_comparisons.RETRACTED if is_retraction else judged_comparisons.SURPLUS
            )
            continue
        preferred, ranking, ratings, strength, both_bad, text, thumb, version = row[5:13]
        flags, comment, shown, reasons, started, submitted, ms = row[13:] or _NO_DETAILS
        votes[comparison_id].append(
            Voted(
                judgment_id=id,
                labeler=pseudonyms.get(labeler_id) or "L0",
                ranking=_ranking(preferred, ranking, ratings, weights),
                strength=strength,
                both_bad=both_bad,
                ratings=ratings,
                text=text,
                flags=tuple(flags),
                comment=comment,
                shown_order=tuple(shown),
                guidelines_version=version,
                started_at=started,
                submitted_at=submitted,
                active_ms=ms,
                thumb=thumb,
                reasons=tuple(reasons),
            )
        )
    counts.judgments.considered += considered
    return votes


def ranking_of(
    judgment: Judgment | Adjudication, weights: Mapping[str, float] | None = None
) -> Ranking | None:
    """Return the ranking that a judgment implies, by canonical position, if it implies one."""
    ratings = getattr(judgment, "ratings", None)
    return _ranking(judgment.preferred, judgment.ranking, ratings, weights or {})


def _ranking(
    preferred: str | None,
    ranks: Sequence[int] | None,
    ratings: Mapping[str, Sequence[float]] | None,
    weights: Mapping[str, float],
) -> Ranking | None:
    if preferred is not None:
        return _PICKED[preferred]
    if ranks:
        return _ranked(tuple(ranks))
    if not ratings:
        return None
    totals = _weighted_totals(ratings, weights)
    return Ranking.of_positions([-total for total in totals]) if len(totals) > 1 else None


@lru_cache(maxsize=4096)
def _ranked(ranks: tuple[int, ...]) -> Ranking:
    return Ranking(ranks)


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
    session: Session, comparison_ids: Sequence[int], *, with_token_ids: bool
) -> dict[int, list[JudgedCompletion]]:
    columns = (
        *(ComparisonCompletion.comparison_id, Completion.id, Completion.text),
        Completion.token_ids if with_token_ids else null(),
        *(Completion.is_finished, Completion.source, Completion.checkpoint_id),
    )
    query = (
        select(*columns)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(comparison_ids))
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    candidates: dict[int, list[JudgedCompletion]] = defaultdict(list)
    for comparison_id, id, text, ids, is_finished, source, checkpoint_id in session.execute(query):
        token_ids = None if ids is None else tuple(ids)
        candidates[comparison_id].append(
            JudgedCompletion(id, text, token_ids, is_finished, source, checkpoint_id)
        )
    return candidates


def _settled(session: Session, comparison_ids: Sequence[int]) -> dict[int, Ranking | None]:
    query = select(Adjudication.comparison_id, Adjudication.preferred, Adjudication.ranking).where(
        Adjudication.comparison_id.in_(comparison_ids), Adjudication.is_current
    )
    return {
        comparison_id: _ranking(preferred, ranks, None, {})
        for comparison_id, preferred, ranks in session.execute(query)
    }


def _prompt(
    id: int,
    messages: list[dict[str, Any]],
    split: str,
    content_hash: str,
    source: str,
    category: str,
) -> DatasetPrompt:
    return DatasetPrompt(id, tuple(messages), Split(split), content_hash, source, category)
