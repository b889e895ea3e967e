"""The leaderboard of a project: which votes count between which sources.

Votes count if they fill a slot of a comparison for training or evaluation that is not withdrawn.
Gold and practice have a known answer, a repeat asks the same labeler again, and a fresh comparison
shows a policy in the middle of its training: these are left out and counted. So are comparisons
that a rule chose, unless they are asked for, because they are not typical.

Every judgment counts the same: the pairs of a ranking share the weight of one. Labeler weights are
not applied. The statistics are in `app.domain.leaderboard`.
"""

from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import leaderboard
from app.domain.judgment_kinds import ORDERING_KINDS, JudgmentKind
from app.domain.krippendorff import Indices, Numbers, narrowed, parts
from app.domain.leaderboard import Leaderboard
from app.domain.strength_draws import SourceVotes
from app.models import AiJudgment, AiOutcome, Comparison, Prompt, Purpose
from app.services.datasets import implied_rankings
from app.services.project import criteria, prompt_search
from app.services.project.prompt_search import NO_CATEGORY
from app.services.quality import comparison_sources, judgment_columns, judgment_reader
from app.services.quality.comparison_sources import ComparisonSources
from app.services.quality.judgment_columns import JudgmentColumns
from app.services.quality.kept_figures import kept

MAX_CATEGORIES = 12


class VotesBy(StrEnum):
    """Whose votes rank the sources."""

    PEOPLE = "people"
    JUDGES = "judges"  # AI judges
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class VoteCounts:
    """How many judgments there are, by what became of them.

    `people` and `judges` count those behind the votes; `votes` the pairs that these imply between
    different sources. `same_source` counts pairs of one source's own responses, `no_preference` the
    judgments that imply none, such as “both bad”. `chosen` counts judgments on comparisons that a
    rule chose, left out or not; `left_out` those on comparisons of other purposes.
    """

    people: int
    judges: int
    votes: int
    same_source: int
    no_preference: int
    chosen: int
    left_out: dict[Purpose, int]


@dataclass(frozen=True, slots=True)
class LeaderboardReport:
    """The leaderboard of the votes that were asked for, and what was counted."""

    board: Leaderboard
    counts: VoteCounts
    includes_chosen: bool


@dataclass(frozen=True, slots=True)
class CategoryLeaderboard:
    """The leaderboard of the prompts of one category."""

    name: str
    board: Leaderboard


@dataclass(frozen=True, slots=True)
class CategoryLeaderboards:
    """The leaderboards by category, the one with most votes first; none if fewer than two.

    `others` counts further categories, which are not measured one by one.
    """

    shown: tuple[CategoryLeaderboard, ...] = ()
    others: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which votes count."""

    by: VotesBy
    categories: tuple[str, ...]
    tags: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True, slots=True)
class _Votes:
    """Pairs that judgments imply, of any sources; `category` numbers `categories`."""

    votes: SourceVotes
    category: Numbers
    categories: tuple[str, ...]

    @classmethod
    def empty(cls) -> "_Votes":
        """Return no votes."""
        none = np.zeros(0, dtype=np.int8)
        no_weight = np.zeros(0, dtype=np.float32)
        return cls(SourceVotes(*(none,) * 3, no_weight, *(none,) * 3), none, ())

    @property
    def judgments(self) -> int:
        """The number of judgments; the weights of one judgment's pairs sum to 1."""
        return round(float(self.votes.weight.sum(dtype=float)))

    def where(self, mask: NDArray[np.bool_]) -> "_Votes":
        """Return the pairs of a mask."""
        return _Votes(self.votes.where(mask), self.category[mask], self.categories)


@dataclass(frozen=True, slots=True)
class _Heads:
    """One entry per judgment; `size` is the number of completions that it ranks."""

    comparison: Numbers
    prompt: Numbers
    category: Numbers
    size: Numbers

    def of(self, part: slice) -> "_Heads":
        """Return some of the entries."""
        return _Heads(*(getattr(self, field.name)[part] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Votes between different sources with their categories, the sources' names, and counts."""

    votes: SourceVotes
    category: Numbers
    categories: tuple[str, ...]
    names: tuple[str, ...]
    counts: VoteCounts


@kept
def of_project(
    session: Session,
    project_id: int,
    *,
    by: str = VotesBy.PEOPLE,
    categories: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    length: bool = False,
    chosen: bool = False,
) -> LeaderboardReport:
    """Rank the sources of a project's responses.

    Args:
        session: A session.
        project_id: The project.
        by: Whose votes count: a value of `VotesBy`.
        categories: Only prompts of any of these count; none: all.
        tags: Only prompts with any of these tags count; none: all.
        length: Whether differences in length are taken out.
        chosen: Whether comparisons that a rule chose count.
    """
    asked = _Asked(VotesBy(by), tuple(categories), tuple(tags), chosen)
    found = _gather(session, project_id, asked)
    board = leaderboard.of_votes(found.votes, found.names, length_controlled=length)
    return LeaderboardReport(board, found.counts, chosen)


@kept
def by_category(
    session: Session,
    project_id: int,
    *,
    by: str = VotesBy.PEOPLE,
    tags: tuple[str, ...] = (),
    length: bool = False,
    chosen: bool = False,
) -> CategoryLeaderboards:
    """Rank the sources on the prompts of each category, if there are two or more."""
    found = _gather(session, project_id, _Asked(VotesBy(by), (), tuple(tags), chosen))
    present, sizes = np.unique(found.category, return_counts=True)
    if len(present) < 2:
        return CategoryLeaderboards()
    largest = present[np.argsort(-sizes, kind="stable")[:MAX_CATEGORIES]]
    shown = tuple(
        CategoryLeaderboard(
            found.categories[at] or NO_CATEGORY,
            leaderboard.of_votes(
                found.votes.where(found.category == at), found.names, length_controlled=length
            ),
        )
        for at in largest.tolist()
    )
    return CategoryLeaderboards(shown, len(present) - len(shown))


def _gather(session: Session, project_id: int, asked: _Asked) -> _Gathered:
    """Return the votes that count, and count what does not."""
    sources = comparison_sources.read(session, project_id)
    judgments = judgment_reader.read(session, project_id)
    prompts = _prompts(session, project_id, asked)
    if prompts is not None:
        judgments = judgments.where(np.isin(judgments.arrays.prompt, prompts))
    arrays = judgments.arrays
    wanted = [judgment_columns.PURPOSES.index(name) for name in comparison_sources.PURPOSES]
    of_purpose = arrays.counts & np.isin(arrays.purpose, wanted)
    counted = judgments.where(of_purpose & (asked.chosen | ~arrays.chosen))
    nobody = _Votes.empty()
    people = nobody if asked.by is VotesBy.JUDGES else _of_people(counted, sources)
    judges = (
        nobody if asked.by is VotesBy.PEOPLE else _of_judges(session, project_id, sources, asked)
    )
    if prompts is not None:
        judges = judges.where(np.isin(judges.votes.prompt, prompts))
    names = {
        name: at for at, name in enumerate(dict.fromkeys((*people.categories, *judges.categories)))
    }
    category = np.concatenate(
        [
            narrowed(np.array([names[name] for name in part.categories], dtype=int))[part.category]
            for part in (people, judges)
        ]
    )
    votes = _joined(people.votes, judges.votes)
    between = votes.first != votes.second
    has_people = asked.by is not VotesBy.JUDGES
    counts = VoteCounts(
        people=people.judgments,
        judges=judges.judgments,
        votes=int(between.sum()),
        same_source=int((~between).sum()),
        no_preference=_without_preference(counted) if has_people else 0,
        chosen=int((of_purpose & arrays.chosen).sum()) if has_people else 0,
        left_out=_left_out(judgments) if has_people else {},
    )
    return _Gathered(votes.where(between), category[between], tuple(names), sources.names, counts)


def _without_preference(judgments: JudgmentColumns) -> int:
    """Count the judgments that could have implied a preference, but do not."""
    kinds = [
        at
        for at, kind in enumerate(judgment_columns.KINDS)
        if kind in (*ORDERING_KINDS, JudgmentKind.RATE)
    ]
    is_order = np.isin(judgments.arrays.kind, kinds)
    return int((is_order & ~judgments.is_preference).sum())


def _left_out(judgments: JudgmentColumns) -> dict[Purpose, int]:
    arrays = judgments.arrays
    counts = np.bincount(
        arrays.purpose[arrays.counts], minlength=len(judgment_columns.PURPOSES)
    ).tolist()
    return {
        purpose: count
        for purpose, count in zip(judgment_columns.PURPOSES, counts, strict=True)
        if count and purpose not in comparison_sources.PURPOSES
    }


def _of_people(judgments: JudgmentColumns, sources: ComparisonSources) -> _Votes:
    voted = judgments.where(judgments.is_preference)
    arrays = voted.arrays
    heads = _Heads(arrays.comparison, arrays.prompt, arrays.category, arrays.size)
    return _votes(sources, heads, voted.categories, voted.sign)


def _of_judges(
    session: Session, project_id: int, sources: ComparisonSources, asked: _Asked
) -> _Votes:
    """Return what AI judges said, each counted like a labeler."""
    query = (
        select(
            AiJudgment.comparison_id,
            Comparison.prompt_id,
            Prompt.category,
            AiJudgment.ranking,
            AiJudgment.ratings,
        )
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(
            AiJudgment.project_id == project_id,
            AiJudgment.outcome == AiOutcome.JUDGED,
            Comparison.purpose.in_(comparison_sources.PURPOSES),
            ~Comparison.is_withdrawn,
        )
        .order_by(AiJudgment.id)
    )
    if not asked.chosen:
        query = query.where(Comparison.chosen.is_(None))
    weights = criteria.weights(session, project_id)
    names: dict[str, int] = {}
    heads: list[tuple[int, int, int, int]] = []
    signs: list[int] = []
    for row in session.execute(query):
        ranking = implied_rankings.of_values(None, row.ranking, row.ratings, weights)
        if ranking is not None:
            category = names.setdefault(row.category, len(names))
            heads.append((row.comparison_id, row.prompt_id, category, len(ranking.ranks)))
            signs.extend(ranking.signs)
    table = np.array(heads, dtype=np.int64).reshape(-1, 4)
    return _votes(sources, _Heads(*table.T), tuple(names), np.array(signs, dtype=np.int8))


def _votes(
    sources: ComparisonSources, heads: _Heads, categories: tuple[str, ...], sign: NDArray[np.int8]
) -> _Votes:
    """Return the pairs of judgments as votes between sources, which may be the same."""
    pairs = judgment_columns.pairs_of(heads.size)
    pieces, category, start = [_Votes.empty().votes], [_Votes.empty().category], 0
    for part in parts(len(pairs)):  # only what is narrow is there of all of them at once
        of_part = pairs[part].astype(np.int64)
        end = start + int(of_part.sum())
        owner, votes = _votes_of_part(sources, heads.of(part), of_part, sign[start:end])
        pieces.append(votes)
        category.append(heads.category[part][owner])
        start = end
    return _Votes(_joined(*pieces), np.concatenate(category), categories)


def _votes_of_part(
    sources: ComparisonSources, heads: _Heads, pairs: Indices, sign: NDArray[np.int8]
) -> tuple[Indices, SourceVotes]:
    """Return the judgment of each vote, and the votes."""
    owner = np.repeat(np.arange(len(pairs)), pairs)
    start = sources.places(heads.comparison)[owner]
    known = start >= 0
    owner, start = owner[known], start[known]
    first, second = (
        start + position[known]
        for position in judgment_columns.pair_positions(heads.size.astype(np.int64), pairs)
    )
    votes = SourceVotes(
        first=sources.source[first],
        second=sources.source[second],
        outcome=np.int8(1) - sign[known],
        weight=(1.0 / pairs[owner]).astype(np.float32),
        first_length=sources.length[first],
        second_length=sources.length[second],
        prompt=heads.prompt[owner],
    )
    return owner, votes


def _prompts(session: Session, project_id: int, asked: _Asked) -> Indices | None:
    """Return the ids of the prompts with the labels asked for; None if all count."""
    if not asked.categories and not asked.tags:
        return None
    labels = prompt_search.is_labelled(project_id, asked.categories, asked.tags)
    found = session.scalars(select(Prompt.id).where(Prompt.project_id == project_id, *labels))
    return np.array(found.all(), dtype=np.int64)


def _joined(*pieces: SourceVotes) -> SourceVotes:
    filled = [piece for piece in pieces if len(piece)] or list(pieces[:1])
    if len(filled) == 1:
        return filled[0]
    return SourceVotes(
        *(
            np.concatenate([getattr(piece, field.name) for piece in filled])
            for field in fields(SourceVotes)
        )
    )
