"""Judged comparisons, read page by page: the one source of training data and exports.

Only judgments that count are included (see `counted_judgments`); everything else in the project is
counted with its reason. Writing files is up to `export_rows`, making tensors up to the worker.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from app.db.scan import key_ranges
from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
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
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.datasets import (
    ai_votes,
    export_since,
    implied_rankings,
    judged_comparisons,
    page_votes,
)
from app.services.datasets.judged_comparisons import (
    ExportOptions,
    JudgedComparison,
    JudgedPage,
    Voted,
)
from app.services.project import criteria, instructions, prompt_search

PAGE = 2_000
SQLITE_PAGE = 1_000  # nobody can write while it is read
FIRST_PAGE = 200
PAGE_BYTES = 16 << 20
TOKEN_BYTES = 40  # of an integer in a tuple

# Columns of tables, not of entities: their rows come straight from the driver.
_comparison, _prompt, _round = Comparison.__table__.c, Prompt.__table__.c, Round.__table__.c
_judgment, _completion = Judgment.__table__.c, Completion.__table__.c
_place = ComparisonCompletion.__table__.c
_ai = AiJudgment.__table__

_KINDS = {str(kind): kind for kind in JudgmentKind}
_PURPOSES = {str(purpose): purpose for purpose in Purpose}
_SPLITS = {str(split): split for split in Split}


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
    until: int | None = None,
    limit: int = PAGE,
    details: Details | None = None,
) -> JudgedPage:
    """Return the next comparisons by id; a long export reads each page in a session of its own.

    Each comparison and judgment of the page is counted as considered, and those that do not count
    as excluded. The caller counts what it exports of the rest, or why it does not.
    """
    wanted = details or Details()
    if not (selected := _comparisons(session, project_id, options, after, until, limit)):
        return JudgedPage((), None)
    ids = [row[0] for row in selected]
    weights = criteria.weights(session, project_id)
    texts = instructions.texts(session, project_id)
    votes = page_votes.read(
        *(session, project_id, ids, counts, weights),
        with_details=wanted.votes,
        judged_by=options.judged_by,
    )
    ai_votes.add(session, project_id, ids, counts, votes, options.judged_by, weights)
    settled = _settled(session, ids)
    counts.comparisons.considered += len(selected)
    kept = []
    for row in selected:
        is_left_out = row[0] in settled and not options.include_adjudicated
        if row[3] or is_left_out or not votes[row[0]]:
            reason = _reason(is_withdrawn=row[3], is_left_out=is_left_out)
            _exclude(counts, reason, len(votes[row[0]]))
        else:
            kept.append(row)
    # Texts only of these: in a project that is being judged, most may be left.
    candidates = _candidates(session, [row[0] for row in kept], with_token_ids=wanted.token_ids)
    prompts = _prompts(session, {row[5] for row in kept})
    rows = [
        JudgedComparison(
            id,
            _KINDS[kind],
            _PURPOSES[purpose],
            number,
            prompts[prompt_id],
            tuple(candidates[id]),
            tuple(votes[id]),
            settled.get(id),
            _weights_of(votes[id], weights) if kind == JudgmentKind.RATE else {},
            id in settled and settled[id] is None,
            texts,
            chosen,
        )
        for id, kind, purpose, _is_withdrawn, number, prompt_id, chosen in kept
    ]
    return JudgedPage(tuple(rows), ids[-1] if len(ids) == limit else None)


def _exclude(counts: Counts, reason: str, judgments: int) -> None:
    """Count a comparison that is left out, and its judgments."""
    counts.comparisons.exclude(reason)
    counts.judgments.exclude(reason, judgments)


def next_limit(page: JudgedPage, limit: int, *, most: int = PAGE) -> int:
    """Return how many comparisons to read after a page, so that one stays near `PAGE_BYTES`.

    A page without judged ones says nothing about their size, so its limit stays. Otherwise, twenty
    rows of a page say how large a comparison is: nine long responses with their token ids take a
    thousand times the memory of two short ones.
    """
    sampled = page.rows[:: max(1, len(page.rows) // 20)]
    if not sampled:
        return limit
    size = sum(
        2 * len(candidate.text) + TOKEN_BYTES * len(candidate.token_ids or ())
        for row in sampled
        for candidate in row.candidates
    )
    return min(max(PAGE_BYTES * len(sampled) // max(size, 1), 10), most)


def count_after(session: Session, project_id: int, after: int) -> int:
    """Count the comparisons of a project with higher ids, whatever they are for."""
    query = select(func.count()).where(_comparison.project_id == project_id, _comparison.id > after)
    return session.scalar(query) or 0


def every_nth(session: Session, project_id: int, after: int, n: int) -> list[int]:
    """Return the id of every nth comparison of a project after an id, without the last of all."""
    number = func.row_number().over(order_by=_comparison.id).label("number")
    numbered = (
        select(_comparison.id, number)
        .where(_comparison.project_id == project_id, _comparison.id > after)
        .subquery()
    )
    newest = select(func.max(numbered.c.id)).scalar_subquery()
    query = select(numbered.c.id).where(numbered.c.number % n == 0, numbered.c.id < newest)
    return list(session.scalars(query.order_by(numbered.c.id)))


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
    for query, key, unit in (
        (comparisons, _comparison.id, counts.comparisons),
        (judgments, _judgment.id, counts.judgments),
        (of_judges, _ai.c.id, counts.judgments),
    ):
        for part in key_ranges(session, key):
            rows = session.execute(query.where(part).group_by(*groups)).all()
            for *group, count in map(tuple, rows):
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


def _reason(*, is_withdrawn: bool, is_left_out: bool) -> str:
    """Return why a comparison is not exported in any format."""
    if is_withdrawn:
        return judged_comparisons.WITHDRAWN
    return judged_comparisons.ADJUDICATED if is_left_out else judged_comparisons.UNJUDGED


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
    session: Session,
    project_id: int,
    options: ExportOptions,
    after: int,
    until: int | None,
    limit: int,
) -> Sequence[Any]:
    columns: tuple[Any, ...] = (
        *(_comparison.id, _comparison.kind, _comparison.purpose, _comparison.is_withdrawn),
        *(_round.number, _prompt.id, _comparison.chosen),
    )
    query = (
        _joined(select(*columns).select_from(Comparison.__table__))
        .where(
            _comparison.project_id == project_id,
            _comparison.id > after,
            *([] if until is None else [_comparison.id <= until]),
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


def _weights_of(votes: Iterable[Voted], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of the criteria that the votes rate."""
    rated = {name for vote in votes for name in vote.ratings or ()}
    return {name: weights.get(name, 1.0) for name in sorted(rated)}


def _prompts(session: Session, ids: Collection[int]) -> dict[int, DatasetPrompt]:
    """Return the prompts of a page by id, each read once for all of its comparisons."""
    if not ids:
        return {}
    columns: tuple[Any, ...] = (
        *(_prompt.id, cast(_prompt.messages, Text), _prompt.split),
        *(_prompt.content_hash, _prompt.source, _prompt.category),
    )
    query = select(*columns).where(page_votes.among(session, _prompt.id, sorted(ids)))
    return {
        id: DatasetPrompt(id, tuple(json.loads(turns)), _SPLITS[split], *others)
        for id, turns, split, *others in session.execute(query).all()
        if id in ids
    }


def _candidates(
    session: Session, comparison_ids: Sequence[int], *, with_token_ids: bool
) -> dict[int, list[JudgedCompletion]]:
    if not comparison_ids:
        return {}
    query = (
        select(_place.comparison_id, _place.completion_id)
        .where(page_votes.among(session, _place.comparison_id, comparison_ids))
        .order_by(_place.comparison_id, _place.position)
    )
    candidates: dict[int, list[JudgedCompletion]] = {id: [] for id in comparison_ids}
    places = [row for row in session.execute(query).all() if row[0] in candidates]
    ids = {completion_id for _comparison_id, completion_id in places}
    completions = _completions(session, ids, with_token_ids=with_token_ids)
    for comparison_id, completion_id in places:
        candidates[comparison_id].append(completions[completion_id])
    return candidates


def _completions(
    session: Session, ids: Collection[int], *, with_token_ids: bool
) -> dict[int, JudgedCompletion]:
    """Return the completions of a page by id, each read once for all of its comparisons."""
    if not ids:
        return {}
    columns: tuple[Any, ...] = (
        *(_completion.id, _completion.text),
        _completion.token_ids if with_token_ids else null(),
        *(_completion.is_finished, _completion.source, _completion.checkpoint_id),
        cast(_completion.earlier, Text),
    )
    query = select(*columns).where(page_votes.among(session, _completion.id, sorted(ids)))
    return {
        id: JudgedCompletion(
            *(id, text, None if tokens is None else tuple(tokens)),
            *(*others, () if earlier == "[]" else tuple(json.loads(earlier))),
        )
        for id, text, tokens, *others, earlier in session.execute(query).all()
        if id in ids
    }


def _settled(session: Session, comparison_ids: Sequence[int]) -> dict[int, Ranking | None]:
    of = Adjudication.comparison_id
    query = select(of, Adjudication.preferred, Adjudication.ranking).where(
        page_votes.among(session, of, comparison_ids), Adjudication.is_current
    )
    return {
        comparison_id: implied_rankings.of_values(preferred, ranks, None, {})
        for comparison_id, preferred, ranks in session.execute(query)
    }
