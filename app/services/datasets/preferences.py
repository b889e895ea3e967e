"""Judged comparisons, read page by page: the one source of training data and exports.

Only judgments that count are included (see `counted_judgments`); everything else in the project is
counted with its reason. Writing files is up to `export_rows`, making tensors up to the worker.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    null,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.domain.judged_by import JudgedBy
from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Pick, Ranking, Side
from app.formats.manifest import Counts
from app.formats.training_rows import DatasetPrompt, JudgedCompletion
from app.models import (
    Adjudication,
    AiJudgment,
    AiOutcome,
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
from app.services.datasets import ai_votes, export_since, judged_comparisons
from app.services.datasets.judged_comparisons import (
    ExportOptions,
    JudgedComparison,
    JudgedPage,
    Voted,
)
from app.services.project import criteria, instructions, prompt_search

PAGE = 2_000
FIRST_PAGE = 200
PAGE_BYTES = 16 << 20
TOKEN_BYTES = 40  # of an integer in a tuple

# Columns of tables, not of entities: their rows come straight from the driver.
_comparison, _prompt, _round = Comparison.__table__.c, Prompt.__table__.c, Round.__table__.c
_judgment, _completion = Judgment.__table__.c, Completion.__table__.c
_place = ComparisonCompletion.__table__.c
_ai = cast(Table, AiJudgment.__table__)

_PICKED = {str(side): Pick(side).ranking for side in Side}
_KINDS = {str(kind): kind for kind in JudgmentKind}
_PURPOSES = {str(purpose): purpose for purpose in Purpose}
_SPLITS = {str(split): split for split in Split}

_is_no_pick = _judgment.preferred.is_(None)
_SAID = (
    *(_judgment.id, _judgment.comparison_id, _judgment.labeler_id),
    *(_judgment.is_retraction, _judgment.is_surplus, _judgment.preferred),
    # A pick has neither ranks nor ratings. To parse its nulls would take longer than all the rest.
    type_coerce(case((_is_no_pick, _judgment.ranking)), Text),
    type_coerce(case((_is_no_pick, _judgment.ratings)), Text),
    _judgment.strength,
    *(_judgment.both_bad, _judgment.text, _judgment.thumb, _judgment.guidelines_version),
    *(_judgment.margin, _judgment.instruction_version),
)
_DETAILS = (
    *(_judgment.flags, _judgment.comment, _judgment.shown_order, _judgment.reasons),
    *(_judgment.started_at, _judgment.submitted_at, _judgment.active_ms),
)
_NO_DETAILS: tuple[Any, ...] = ((), "", (), (), None, None, 0)


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
    texts = instructions.texts(session, project_id)
    votes = _votes(
        session,
        project_id,
        ids,
        counts,
        weights,
        with_details=wanted.votes,
        judged_by=options.judged_by,
    )
    ai_votes.add(session, project_id, ids, counts, votes, options.judged_by)
    candidates = _candidates(session, ids, with_token_ids=wanted.token_ids)
    settled = _settled(session, ids)
    counts.comparisons.considered += len(selected)
    rows: list[JudgedComparison] = []
    for id, kind, purpose, is_withdrawn, number, prompt_id, turns, *rest in selected:
        own = votes[id]
        reason = _reason(
            is_withdrawn=is_withdrawn,
            is_left_out=id in settled and not options.include_adjudicated,
            has_votes=bool(own),
        )
        if reason is not None:
            counts.comparisons.exclude(reason)
            counts.judgments.exclude(reason, len(own))
            continue
        split, hash, source, category = rest
        prompt = DatasetPrompt(
            prompt_id, tuple(_parsed(turns)), _SPLITS[split], hash, source, category
        )
        row = JudgedComparison(
            id,
            _KINDS[kind],
            _PURPOSES[purpose],
            number,
            prompt,
            tuple(candidates[id]),
            tuple(own),
            settled.get(id),
            _weights_of(own, weights) if kind == JudgmentKind.RATE else {},
            id in settled and settled[id] is None,
            texts,
        )
        rows.append(row)
    return JudgedPage(tuple(rows), ids[-1] if len(ids) == limit else None)


def next_limit(page: JudgedPage) -> int:
    """Return how many comparisons to read next, so that a page stays near `PAGE_BYTES`.

    Twenty rows of a page say how large a comparison is: nine long responses with their token ids
    take a thousand times the memory of two short ones.
    """
    sampled = page.rows[:: max(1, len(page.rows) // 20)]
    if not sampled:
        return FIRST_PAGE
    size = sum(
        2 * len(candidate.text) + TOKEN_BYTES * len(candidate.token_ids or ())
        for row in sampled
        for candidate in row.candidates
    )
    return min(max(PAGE_BYTES * len(sampled) // max(size, 1), 10), PAGE)


def count_outside(
    session: Session, project_id: int, options: ExportOptions, counts: Counts
) -> None:
    """Count the comparisons and judgments of the project that the options do not ask for."""
    inside = and_(*_conditions(project_id, options))
    labels = prompt_search.is_labelled(project_id, options.categories, options.tags)
    is_labelled = case((and_(true(), *labels), 1), else_=0).label("is_labelled")
    groups: tuple[Any, ...] = (_comparison.purpose, _prompt.split, _round.number, is_labelled)
    is_outside = or_(inside.is_(None), ~inside)  # null for a comparison in no round
    if options.since is not None:
        is_unchanged = ~export_since.changed(options.since, options.judged_by)
        is_outside = or_(is_outside, is_unchanged)
    comparisons = _joined(select(*groups, func.count()).select_from(Comparison.__table__)).where(
        _comparison.project_id == project_id, is_outside
    )
    judgments = _joined(
        select(*groups, func.count()).select_from(
            Judgment.__table__.join(Comparison.__table__, _comparison.id == _judgment.comparison_id)
        )
    ).where(_judgment.project_id == project_id, _judgment.is_current, is_outside)
    of_judges = _joined(
        select(*groups, func.count()).select_from(
            _ai.join(Comparison.__table__, _comparison.id == _ai.c.comparison_id)
        )
    ).where(_ai.c.project_id == project_id, _ai.c.outcome == AiOutcome.JUDGED, is_outside)
    for query, unit in (
        (comparisons, counts.comparisons),
        (judgments, counts.judgments),
        (of_judges, counts.judgments),
    ):
        for *group, count in map(tuple, session.execute(query.group_by(*groups))):
            unit.skip(_outside(options, *group), count)


def _outside(
    options: ExportOptions, purpose: str, split: str, round_number: int | None, is_labelled: int
) -> str:
    if purpose not in options.purposes:
        return f"purpose {purpose}"
    if split not in options.splits:
        return f"split {split}"
    if not is_labelled:
        return judged_comparisons.OTHER_LABEL
    if options.rounds and round_number not in options.rounds:
        return "in no round" if round_number is None else f"round {round_number}"
    return export_since.UNCHANGED


def _reason(*, is_withdrawn: bool, is_left_out: bool, has_votes: bool) -> str | None:
    """Return why a comparison is not exported in any format, or None."""
    if is_withdrawn:
        return judged_comparisons.WITHDRAWN
    if is_left_out:
        return judged_comparisons.ADJUDICATED
    return None if has_votes else judged_comparisons.UNJUDGED


def _conditions(project_id: int, options: ExportOptions) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        _comparison.purpose.in_(options.purposes),
        _prompt.split.in_(options.splits),
    ]
    if options.rounds:
        conditions.append(_round.number.in_(options.rounds))
    conditions += prompt_search.is_labelled(project_id, options.categories, options.tags)
    return conditions


def _joined(query: Select[Any]) -> Select[Any]:
    """Join a comparison's prompt, and its round if it has one."""
    return query.join(Prompt.__table__, _prompt.id == _comparison.prompt_id).join(
        Round.__table__, _round.id == _comparison.round_id, isouter=True
    )


def _comparisons(
    session: Session, project_id: int, options: ExportOptions, after: int, limit: int
) -> Sequence[Any]:
    columns: tuple[Any, ...] = (
        *(_comparison.id, _comparison.kind, _comparison.purpose, _comparison.is_withdrawn),
        _round.number,
        *(_prompt.id, type_coerce(_prompt.messages, Text)),
        *(_prompt.split, _prompt.content_hash, _prompt.source, _prompt.category),
    )
    query = (
        _joined(select(*columns).select_from(Comparison.__table__))
        .where(
            _comparison.project_id == project_id,
            _comparison.id > after,
            *_conditions(project_id, options),
            *(
                []
                if options.since is None
                else [export_since.changed(options.since, options.judged_by)]
            ),
        )
        .order_by(_comparison.id)
        .limit(limit)
    )
    return session.execute(query).all()


def _votes(
    session: Session,
    project_id: int,
    comparison_ids: Sequence[int],
    counts: Counts,
    weights: Mapping[str, float],
    *,
    with_details: bool,
    judged_by: JudgedBy,
) -> dict[int, list[Voted]]:
    """Return the votes that count by comparison; count the others."""
    pseudonyms = _pseudonyms(session, project_id)
    query = (
        select(*_SAID, *(_DETAILS if with_details else ()))
        .where(
            _judgment.project_id == project_id,
            _judgment.is_current,
            _among(_judgment.comparison_id, comparison_ids),
        )
        .order_by(_judgment.id)
    )
    votes: dict[int, list[Voted]] = {id: [] for id in comparison_ids}
    for row in session.execute(query):
        id, comparison_id, labeler_id, is_retraction, is_surplus = row[:5]
        own = votes.get(comparison_id)
        if own is None:
            continue
        counts.judgments.considered += 1
        if is_retraction or is_surplus:  # as in `counted_judgments.fills_slot`
            counts.judgments.exclude(
                judged_comparisons.RETRACTED if is_retraction else judged_comparisons.SURPLUS
            )
            continue
        if not judged_by.has_people:
            counts.judgments.exclude(judged_comparisons.BY_PERSON)
            continue
        preferred, ranks, ratings, strength, both_bad, text, thumb, version = row[5:13]
        margin, instruction_version = row[13:15]
        if ratings is not None:
            ratings = _parsed(ratings)
        ranking = (
            _PICKED[preferred]
            if preferred is not None
            else _ranking(None, _parsed(ranks), ratings, weights)
        )
        flags, comment, shown, reasons, started, submitted, ms = row[15:] or _NO_DETAILS
        own.append(
            Voted(
                id,
                pseudonyms.get(labeler_id) or "L0",
                ranking,
                strength,
                both_bad,
                ratings,
                text,
                tuple(flags),
                comment,
                tuple(shown),
                version,
                started,
                submitted,
                ms,
                thumb,
                tuple(reasons),
                margin,
                instruction_version,
            )
        )
    return votes


def _among(
    column: ColumnElement[int] | InstrumentedAttribute[int], ids: Sequence[int]
) -> ColumnElement[bool]:
    """Return the condition that a column holds one of the ascending ids, or one between them.

    A dense page is read as a range: a list of thousands of parameters costs more than the rows. The
    caller passes over what belongs to no id.
    """
    if ids[-1] - ids[0] < 2 * len(ids):
        return column.between(ids[0], ids[-1])
    return column.in_(ids)


def _parsed(value: Any) -> Any:
    """Return a JSON value that the driver has left as text, as SQLite's does."""
    return json.loads(value) if isinstance(value, str) else value


def _pseudonyms(session: Session, project_id: int) -> dict[int, str]:
    query = select(Membership.user_id, Membership.pseudonym)
    return dict(session.execute(query.where(Membership.project_id == project_id)).all())


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
    columns: tuple[Any, ...] = (
        *(_place.comparison_id, _completion.id, _completion.text),
        _completion.token_ids if with_token_ids else null(),
        *(_completion.is_finished, _completion.source, _completion.checkpoint_id),
    )
    query = (
        select(*columns)
        .join_from(
            ComparisonCompletion.__table__,
            Completion.__table__,
            _completion.id == _place.completion_id,
        )
        .where(_among(_place.comparison_id, comparison_ids))
        .order_by(_place.comparison_id, _place.position)
    )
    candidates: dict[int, list[JudgedCompletion]] = {id: [] for id in comparison_ids}
    for comparison_id, id, text, ids, is_finished, source, checkpoint_id in session.execute(query):
        if comparison_id in candidates:
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
