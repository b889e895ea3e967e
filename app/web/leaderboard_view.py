"""What pages show of a leaderboard: who leads and how sure that is, in words, and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain import signs
from app.domain.leaderboard import ConnectedSources, RankedSource, is_enough
from app.domain.measures import Interval, Measure, Undefined
from app.domain.page_verdicts.verdict import Tone
from app.models import Purpose
from app.services.quality import leaderboard_rows
from app.services.quality.leaderboard import (
    CategoryLeaderboards,
    LeaderboardReport,
    VoteCounts,
    VotesBy,
)
from app.web import verdict_words

NAMED_MOST = 5  # sources in a sentence; further ones are counted
SHADES = 7
TOO_CLOSE = "The interval of the win rate contains 50 % and is wider than ±10 points."

_LEFT_OUT = {
    Purpose.GOLD: "gold comparisons",
    Purpose.PRACTICE: "practice comparisons",
    Purpose.REPEAT: "repeats",
    Purpose.FRESH: "comparisons of a policy in training",
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a win rate decides nothing: a tag, and its meaning."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source in the table of its group; `share` is against the reference or the others."""

    source: RankedSource
    share: Measure
    is_reference: bool

    @property
    def ranks(self) -> str:
        """The ranks that the votes leave open."""
        best, worst = self.source.best_rank, self.source.worst_rank
        return str(best) if best == worst else f"{best}–{worst}"

    @property
    def doubt(self) -> Doubt | None:
        """Why the win rate shown decides nothing; None if it does, or if there is none."""
        share = self.share
        if self.is_reference or isinstance(share.value, Undefined) or is_enough(share):
            return None
        if isinstance(share.interval, Undefined):
            return Doubt("no interval", share.interval.reason)
        return Doubt("too close to call", TOO_CLOSE)


@dataclass(frozen=True, slots=True)
class VersusCell:
    """What a source did against another: votes, and the share of wins with ties as half."""

    wins: int
    ties: int
    losses: int

    @property
    def votes(self) -> int:
        """The number of votes between the two."""
        return self.wins + self.ties + self.losses

    @property
    def share(self) -> float:
        """The share of wins, ties counting half."""
        return (self.wins + self.ties / 2) / self.votes

    @property
    def shade(self) -> int:
        """The shade of the cell, 0 to 6, which the style sheet maps to colors."""
        return min(int(self.share * SHADES), SHADES - 1)


@dataclass(frozen=True, slots=True)
class GroupView:
    """A connected group of sources with its tables and what there is to say about it."""

    group: ConnectedSources
    reference: str

    @property
    def rows(self) -> tuple[SourceRow, ...]:
        """The sources, the strongest first."""
        return tuple(
            SourceRow(
                source,
                leaderboard_rows.against(self.group, at, self.reference),
                source.name == self.reference,
            )
            for at, source in enumerate(self.group.sources)
        )

    @property
    def versus(self) -> tuple[tuple[str, tuple[VersusCell | None, ...]], ...]:
        """Each source's votes against each, in the order of the table; None against itself."""
        wins, ties = self.group.wins, self.group.ties
        places = range(len(self.group.sources))
        return tuple(
            (
                source.name,
                tuple(
                    None if at == to else VersusCell(wins[at][to], ties[at][to], wins[to][at])
                    for to in places
                ),
            )
            for at, source in enumerate(self.group.sources)
        )

    @property
    def verdict(self) -> str:
        """Who leads, and whether that is sure."""
        return verdict(self.group)

    @property
    def tone(self) -> Mapping[str, str]:
        """The tone of the verdict and its word."""
        if self.group.is_sure:
            return {"tone": Tone.GOOD, "word": "Clear winner"}
        return {"tone": Tone.EARLY, "word": verdict_words.TONES[Tone.EARLY]}

    @property
    def limits(self) -> tuple[str, ...]:
        """What keeps strengths from being estimated as usual."""
        if self.group.is_limited:
            return ()
        names = [source.name for source in self.group.sources]
        sentences = []
        for parts, what in ((self.group.winners, "won"), (self.group.losers, "lost")):
            for part in parts:
                rest = tuple(name for name in names if name not in part)
                if what == "won" or set(rest) not in map(set, self.group.winners):
                    sentences.append(f"{listed(part)} {what} every vote against {listed(rest)}.")
        return (
            *sentences,
            "Such a lead has no limit: a weak prior keeps the figures finite, and intervals take "
            "prompts rather than votes as trials.",
        )

    @property
    def length_effect(self) -> str:
        """What the effect of length came to, in words."""
        effect = self.group.length_effect
        if isinstance(effect.value, Undefined):
            return f"Length is not taken out here: {effect.value.reason}."
        within = ""
        if isinstance(effect.interval, Interval):
            within = signs.with_minus(f" [{effect.interval.low:z.2f}, {effect.interval.high:z.2f}]")
        much = "more often" if effect.value > 0 else "less often"
        return (
            f"Longer responses win {much}: a large difference is worth "
            f"{signs.signed(effect.value, 2)} log odds{within}. The figures are those of responses "
            "of equal length."
        )


@dataclass(frozen=True, slots=True)
class LeaderboardView:
    """The leaderboard as its page shows it."""

    report: LeaderboardReport
    by_category: CategoryLeaderboards
    reference: str

    @property
    def groups(self) -> tuple[GroupView, ...]:
        """The groups, the largest first."""
        return tuple(GroupView(group, self.reference) for group in self.report.board.groups)

    @property
    def names(self) -> list[str]:
        """The sources that can be the reference."""
        return sorted(source.name for source in self.report.board.sources)

    @property
    def left_out(self) -> str:
        """The judgments on comparisons that never count, in words; empty without any."""
        counts = self.report.counts.left_out
        parts = [f"{count:,} on {_LEFT_OUT[purpose]}" for purpose, count in counts.items()]
        return listed(parts)

    @property
    def counted(self) -> str:
        """Which judgments are behind the figures, in words."""
        return counted(self.report.counts)

    @property
    def categories(self) -> tuple[tuple[str, int, tuple[Measure | None, ...]], ...]:
        """Each category with its votes, and the win rate of each source of `category_sources`."""
        names = self.category_sources
        rows = []
        for category in self.by_category.shown:
            shares = {source.name: source.share for source in category.board.sources}
            rows.append(
                (category.name, category.board.votes, tuple(shares.get(name) for name in names))
            )
        return tuple(rows)

    @property
    def category_sources(self) -> tuple[str, ...]:
        """The sources in the table by category, in the order of the leaderboard."""
        return tuple(source.name for source in self.report.board.sources)


def verdict(group: ConnectedSources) -> str:
    """Say who leads a group and whether that is sure."""
    if group.reason:
        return f"No model leads: {group.reason}."
    first = group.sources[0]
    if all(isinstance(source.share.interval, Undefined) for source in group.sources):
        return f"Not enough to rank them: {_why(group)}."
    if group.is_sure:
        return f"{first.name} is preferred to every other model, and that is sure at 95 %."
    rivals = [source.name for source in group.sources[1:] if source.best_rank == 1]
    if len(rivals) == len(group.sources) - 1:
        return f"{first.name} has the highest win rate, but the votes do not tell the models apart."
    return f"{first.name} has the highest win rate, but {listed(rivals)} may be as good or better."


def listed(names: Sequence[str]) -> str:
    """Return names as a part of a sentence; further ones are counted."""
    shown = list(names[:NAMED_MOST])
    if len(names) > NAMED_MOST:
        shown.append(f"{len(names) - NAMED_MOST} others")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def counted(counts: VoteCounts) -> str:
    """Say which judgments are behind the figures."""
    parts = []
    for number, whose in ((counts.people, "of people"), (counts.judges, "of AI judges")):
        if number:
            parts.append(f"{number:,} judgment{'s' * (number != 1)} {whose}")
    votes = f"{counts.votes:,} vote{'s' * (counts.votes != 1)} between two models"
    return f"{votes}, from {listed(parts)}" if parts else votes


def _why(group: ConnectedSources) -> str:
    return next(
        source.share.interval.reason
        for source in group.sources
        if isinstance(source.share.interval, Undefined)
    )


BY = {
    VotesBy.PEOPLE: "People’s votes",
    VotesBy.JUDGES: "AI judges’ votes",
    VotesBy.BOTH: "Votes of both",
}
