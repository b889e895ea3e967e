"""One comparison as a lead sees it: with its completions, judgments, settlements and models."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import choosing
from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
from app.errors import NotFound
from app.models import (
    Adjudication,
    Checkpoint,
    CheckpointInput,
    Comparison,
    Completion,
    ExportedJudgments,
    Judgment,
    Membership,
    Prompt,
    Round,
    User,
)
from app.services.datasets.implied_rankings import ranking_of
from app.services.project import criteria
from app.services.quality import comparison_search
from app.services.queue import comparisons, counted_judgments


@dataclass(frozen=True, slots=True)
class JudgmentDetail:
    """A judgment with its labeler and the ranking it implies."""

    judgment: Judgment
    labeler: str  # pseudonym
    name: str
    ranking: Ranking | None

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The letters of the completions from best to worst, tied ones together."""
        if self.ranking is None:
            return ()
        return tuple(tuple(letter(position) for position in group) for group in self.ranking.groups)

    @property
    def counts(self) -> bool:
        """Whether it counts towards anything."""
        return counted_judgments.is_filling_slot(self.judgment)


@dataclass(frozen=True, slots=True)
class ComparisonDetail:
    """One comparison with its completions, judgments, adjudications and models."""

    comparison: Comparison
    prompt: Prompt
    round_number: int | None
    completions: tuple[Completion, ...]
    judgments: tuple[JudgmentDetail, ...]
    adjudications: tuple[tuple[Adjudication, str], ...]
    agreement: float | None
    models: tuple[Checkpoint, ...]

    @property
    def why(self) -> str:
        """How a round came to ask about it; nothing outside rounds."""
        chosen = self.comparison.chosen
        return choosing.why(chosen) if self.round_number or chosen else ""

    @property
    def settled(self) -> Adjudication | None:
        """The current settlement."""
        return next((row for row, _ in self.adjudications if row.is_current), None)

    @property
    def counted(self) -> list[Judgment]:
        """The judgments that count."""
        return [detail.judgment for detail in self.judgments if detail.counts]

    @property
    def is_disputed(self) -> bool:
        """Whether two labelers differ in their order, or in whether it is any good."""
        said = {
            (detail.ranking, detail.judgment.both_bad) for detail in self.judgments if detail.counts
        }
        return len(said) > 1

    def firsts(self, position: int) -> tuple[int, int]:
        """Count the votes that rank a completion first alone, and those that tie it for first."""
        firsts = [
            detail.ranking.first
            for detail in self.judgments
            if detail.counts and detail.ranking is not None and position in detail.ranking.first
        ]
        alone = sum(len(first) == 1 for first in firsts)
        return alone, len(firsts) - alone

    def summary(self, position: int) -> str:
        """Describe in a few words how a completion was judged."""
        return _SUMMARIES[self.comparison.kind](self, position)


def letter(position: int) -> str:
    """Name a completion by its canonical position."""
    return "ABCDEFGHI"[position]


def _times_preferred(detail: ComparisonDetail, position: int) -> str:
    return _first_places(detail, position, "preferred", "tied")


def _times_ranked_first(detail: ComparisonDetail, position: int) -> str:
    return _first_places(detail, position, "ranked first", "tied for first")


def _first_places(detail: ComparisonDetail, position: int, first: str, tied: str) -> str:
    if not detail.counted:
        return ""
    alone, shared = detail.firsts(position)
    said = f"{first} in {alone} of {len(detail.counted)}"
    return f"{said}, {tied} in {shared}" if shared else said


def _mean_ratings(detail: ComparisonDetail, position: int) -> str:
    by_criterion: defaultdict[str, list[int]] = defaultdict(list)
    for judgment in detail.counted:
        for name, ratings in (judgment.ratings or {}).items():
            by_criterion[name].append(ratings[position])
    return ", ".join(
        f"{name} {fmean(ratings):.1f}" for name, ratings in sorted(by_criterion.items())
    )


def _thumbs(detail: ComparisonDetail, position: int) -> str:
    del position
    ups = sum(judgment.thumb == "up" for judgment in detail.counted)
    return f"{ups} up, {len(detail.counted) - ups} down"


def _edits(detail: ComparisonDetail, position: int) -> str:
    del position
    count = len(detail.counted)
    return f"{count} edit{'s' if count != 1 else ''}"


_SUMMARIES: Mapping[JudgmentKind, Callable[[ComparisonDetail, int], str]] = {
    JudgmentKind.PICK: _times_preferred,
    JudgmentKind.RANK: _times_ranked_first,
    JudgmentKind.RATE: _mean_ratings,
    JudgmentKind.THUMBS: _thumbs,
    JudgmentKind.WRITE: _edits,
    JudgmentKind.EDIT: _edits,
}


def detail(session: Session, project_id: int, comparison_id: int) -> ComparisonDetail:
    """Return one comparison of the project with its judgments, adjudications and models.

    Raises:
        NotFound: the project has no such comparison.
    """
    comparison = get(session, project_id, comparison_id)
    prompt = session.get_one(Prompt, comparison.prompt_id)
    round_ = session.get(Round, comparison.round_id) if comparison.round_id else None
    adjudications = session.execute(
        select(Adjudication, User.name)
        .join(User, User.id == Adjudication.adjudicator_id)
        .where(Adjudication.comparison_id == comparison.id)
        .order_by(Adjudication.id.desc())
    )
    return ComparisonDetail(
        comparison,
        prompt,
        round_.number if round_ else None,
        comparisons.completions_of(session, comparison.id),
        _judgments(session, comparison),
        tuple((row, name) for row, name in adjudications),
        comparison_search.agreements(session, project_id, [comparison.id]).get(comparison.id),
        _models(session, comparison.id),
    )


def get(session: Session, project_id: int, comparison_id: int) -> Comparison:
    """Return a comparison of the project.

    Raises:
        NotFound: the project has no such comparison.
    """
    comparison = session.get(Comparison, comparison_id)
    if comparison is None or comparison.project_id != project_id:
        raise NotFound(f"there is no comparison {comparison_id} in this project")
    return comparison


def _judgments(session: Session, comparison: Comparison) -> tuple[JudgmentDetail, ...]:
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
        .join(ExportedJudgments, ExportedJudgments.export_id == CheckpointInput.export_id)
        .join(Judgment, ExportedJudgments.include(Judgment.id))
        .where(Judgment.comparison_id == comparison_id)
        .distinct()
        .order_by(Checkpoint.id)
    )
    return tuple(session.scalars(query))
