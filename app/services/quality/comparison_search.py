"""Comparisons as a lead looks at them: found by what they hold, and one with all its votes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sqlalchemy import ColumnElement, String, cast, select
from sqlalchemy.orm import Session

from app.domain import agreement
from app.domain.ranking import Ranking, strength_of
from app.domain.votes import Vote
from app.errors import NotFound
from app.models import (
    Adjudication,
    Checkpoint,
    CheckpointInput,
    Comparison,
    ComparisonCompletion,
    Completion,
    ExportJudgment,
    Judgment,
    JudgmentKind,
    Membership,
    Prompt,
    Purpose,
    Round,
    User,
)
from app.services.datasets.preferences import ranking_of
from app.services.project import criteria, prompts
from app.services.quality.agreement import lowest
from app.services.queue import comparisons, counted_judgments

PAGE = 40


@dataclass(frozen=True, slots=True)
class ComparisonFilter:
    """What a lead looks for; `state` is open, judged, flagged, low or withdrawn."""

    purpose: Purpose | None = None
    round_number: int | None = None
    state: str = ""
    search: str = ""
    prompt_id: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class ListedComparison:
    """A comparison in a list. `agreement` is None below two votes."""

    comparison: Comparison
    prompt: Prompt
    round_number: int | None
    agreement: float | None
    is_settled: bool


@dataclass(frozen=True, slots=True)
class ListedComparisons:
    """Some comparisons and where the next page begins."""

    rows: tuple[ListedComparison, ...]
    before: int | None


@dataclass(frozen=True, slots=True)
class JudgmentDetail:
    """One judgment with who gave it. `places` are the letters in the order of preference."""

    judgment: Judgment
    labeler: str
    name: str
    ranking: Ranking | None

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Letters of the completions from best to worst, tied ones together."""
        if self.ranking is None:
            return ()
        return tuple(tuple(letter(at) for at in group) for group in self.ranking.groups)

    @property
    def counts(self) -> bool:
        """Whether it counts towards anything."""
        return counted_judgments.is_filling_slot(self.judgment)


@dataclass(frozen=True, slots=True)
class Detail:
    """One comparison with everything on it."""

    comparison: Comparison
    prompt: Prompt
    round_number: int | None
    completions: tuple[Completion, ...]
    said: tuple[JudgmentDetail, ...]
    adjudications: tuple[tuple[Adjudication, str], ...]
    agreement: float | None
    models: tuple[Checkpoint, ...]

    @property
    def settled(self) -> Adjudication | None:
        """The settlement in force."""
        return next((row for row, _ in self.adjudications if row.is_current), None)

    def firsts(self, position: int) -> int:
        """Count the votes that put a completion first, alone or with others."""
        return sum(
            one.counts and one.ranking is not None and position in one.ranking.first
            for one in self.said
        )

    def summary(self, position: int) -> str:
        """Say in a few words how a completion did."""
        said = [one.judgment for one in self.said if one.counts]
        match JudgmentKind(self.comparison.kind):
            case JudgmentKind.RATE:
                return _mean_ratings(said, position)
            case JudgmentKind.THUMBS:
                ups = sum(one.thumb == "up" for one in said)
                return f"{ups} up, {len(said) - ups} down"
            case JudgmentKind.WRITE | JudgmentKind.EDIT:
                return f"{len(said)} made it better"
            case _:
                count = self.firsts(position)
                return f"first in {count} vote{'s' if count != 1 else ''}"


def letter(position: int) -> str:
    """Name a completion by its canonical position."""
    return "ABCDEFGHI"[position]


def _mean_ratings(said: Sequence[Judgment], position: int) -> str:
    rated: defaultdict[str, list[int]] = defaultdict(list)
    for one in said:
        for name, ratings in (one.ratings or {}).items():
            rated[name].append(ratings[position])
    return ", ".join(f"{name} {fmean(given):.1f}" for name, given in sorted(rated.items()))


def page(
    session: Session, project_id: int, asked: ComparisonFilter, *, limit: int = PAGE
) -> ListedComparisons:
    """Return comparisons, newest first; with state low those most disputed first."""
    disputed = dict(lowest(session, project_id)) if asked.state == "low" else {}
    conditions = _conditions(session, project_id, asked)
    if asked.state == "low":
        conditions.append(Comparison.id.in_(disputed))
    query = (
        select(Comparison, Prompt, Round.number)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .where(*conditions)
        .order_by(Comparison.id.desc())
    )
    found = session.execute(query if disputed else query.limit(limit)).all()
    ids = [comparison.id for comparison, _, _ in found]
    agreed, settled = _agreed(session, project_id, ids), _settled(session, ids)
    rows = [
        ListedComparison(
            comparison, prompt, number, agreed.get(comparison.id), comparison.id in settled
        )
        for comparison, prompt, number in found
    ]
    if disputed:
        rows.sort(key=lambda row: (row.is_settled, disputed[row.comparison.id]))
        return ListedComparisons(tuple(rows[:limit]), None)
    return ListedComparisons(tuple(rows), ids[-1] if len(ids) == limit else None)


def detail(session: Session, project_id: int, comparison_id: int) -> Detail:
    """Return one comparison of the project with everything on it.

    Raises:
        NotFound: there is none.
    """
    comparison = get(session, project_id, comparison_id)
    prompt = session.get_one(Prompt, comparison.prompt_id)
    round_ = session.get(Round, comparison.round_id) if comparison.round_id else None
    said = _said(session, comparison)
    adjudications = session.execute(
        select(Adjudication, User.name)
        .join(User, User.id == Adjudication.adjudicator_id)
        .where(Adjudication.comparison_id == comparison.id)
        .order_by(Adjudication.id.desc())
    )
    return Detail(
        comparison,
        prompt,
        round_.number if round_ else None,
        comparisons.completions_of(session, comparison.id),
        said,
        tuple((row, name) for row, name in adjudications),
        _agreed(session, project_id, [comparison.id]).get(comparison.id),
        _models(session, comparison.id),
    )


def get(session: Session, project_id: int, comparison_id: int) -> Comparison:
    """Return a comparison of the project.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Comparison, comparison_id)
    if row is None or row.project_id != project_id:
        raise NotFound(f"there is no comparison {comparison_id} in this project")
    return row


def _conditions(
    session: Session, project_id: int, asked: ComparisonFilter
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [Comparison.project_id == project_id]
    if asked.purpose is not None:
        found.append(Comparison.purpose == asked.purpose)
    if asked.round_number is not None:
        found.append(Round.number == asked.round_number)
    if asked.prompt_id is not None:
        found.append(Comparison.prompt_id == asked.prompt_id)
    if asked.before is not None:
        found.append(Comparison.id < asked.before)
    if asked.search.strip():
        found.append(_holds(session, asked.search.strip()))
    found.append(Comparison.is_withdrawn.is_(asked.state == "withdrawn"))
    if asked.state == "open":
        found.append(Comparison.done_slots < Comparison.overlap)
    elif asked.state == "judged":
        found.append(Comparison.done_slots >= Comparison.overlap)
    elif asked.state == "flagged":
        flagged = select(Judgment.comparison_id).where(
            Judgment.project_id == project_id,
            counted_judgments.stands(),
            cast(Judgment.flags, String) != "[]",
        )
        found.append(Comparison.id.in_(flagged))
    return found


def _holds(session: Session, search: str) -> ColumnElement[bool]:
    if search.isdecimal():
        return Comparison.id == int(search)
    in_answer = (
        select(ComparisonCompletion.comparison_id)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(Completion.text.icontains(search, autoescape=True))
    )
    return prompts.contains(session, Prompt.messages, search) | Comparison.id.in_(in_answer)


def _agreed(session: Session, project_id: int, ids: Sequence[int]) -> dict[int, float]:
    weights = criteria.weights(session, project_id)
    query = (
        select(Judgment)
        .where(
            Judgment.comparison_id.in_(ids),
            counted_judgments.fills_slot(),
        )
        .order_by(Judgment.id)
    )
    votes = []
    for judgment in session.scalars(query):
        ranking = ranking_of(judgment, weights)
        if ranking is not None:
            strength = None if judgment.strength is None else strength_of(judgment.strength)
            votes.append(Vote(judgment.comparison_id, judgment.labeler_id, ranking, strength))
    return {int(str(name)): value for name, value in agreement.by_comparison(votes).items()}


def _settled(session: Session, ids: Sequence[int]) -> set[int]:
    query = select(Adjudication.comparison_id).where(
        Adjudication.comparison_id.in_(ids), Adjudication.is_current
    )
    return set(session.scalars(query))


def _said(session: Session, comparison: Comparison) -> tuple[JudgmentDetail, ...]:
    member = (Membership.user_id == Judgment.labeler_id) & (
        Membership.project_id == comparison.project_id
    )
    query = (
        select(Judgment, Membership.pseudonym, User.name)
        .join(User, User.id == Judgment.labeler_id)
        .join(Membership, member, isouter=True)
        .where(Judgment.comparison_id == comparison.id, Judgment.is_current)
        .order_by(Judgment.submitted_at, Judgment.id)
    )
    weights = criteria.weights(session, comparison.project_id)
    return tuple(
        JudgmentDetail(judgment, pseudonym or "former member", name, ranking_of(judgment, weights))
        for judgment, pseudonym, name in session.execute(query)
    )


def _models(session: Session, comparison_id: int) -> tuple[Checkpoint, ...]:
    query = (
        select(Checkpoint)
        .join(CheckpointInput, CheckpointInput.checkpoint_id == Checkpoint.id)
        .join(ExportJudgment, ExportJudgment.export_id == CheckpointInput.export_id)
        .join(Judgment, Judgment.id == ExportJudgment.judgment_id)
        .where(Judgment.comparison_id == comparison_id)
        .distinct()
        .order_by(Checkpoint.id)
    )
    return tuple(session.scalars(query))
