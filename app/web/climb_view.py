"""What pages show of the climb: its picture, its table, and what was not measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.domain.climb import Climb, ClimbRound
from app.domain.measures import Interval, Undefined
from app.models import Project
from app.web import addresses, climb_charts, climb_figures, climb_picture
from app.web.charts import Chart
from app.web.climb_picture import Picture

_SHARES = frozenset(
    {
        *("votes_sft", "scores_sft", "votes_last", "scores_last"),
        *("agreement", "accuracy", "human_level"),
    }
)
_DIGITS = {"kl_nats": 2}


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of the table in words; `value` is empty where it was not measured."""

    value: str
    interval: str = ""
    is_enough: bool = True


@dataclass(frozen=True, slots=True)
class ClimbColumn:
    """A column of the table, or several under one heading."""

    heading: str
    figures: tuple[str, ...]
    parts: tuple[str, ...] = ()

    @property
    def titles(self) -> Iterator[tuple[str, str]]:
        """Each figure with its heading in words."""
        for at, name in enumerate(self.figures):
            part = f", {self.parts[at]}" if self.parts else ""
            yield name, f"{self.heading}{part}"


@dataclass(frozen=True, slots=True)
class ClimbRow:
    """A round of the table."""

    round: ClimbRound
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ClimbView:
    """The climb of a project as its pages show it; without rounds, nothing is drawn."""

    climb: Climb
    picture: Picture | None
    charts: tuple[Chart, ...] = ()

    @property
    def drawn(self) -> tuple[Chart, ...]:
        """The charts that have a point."""
        return tuple(chart for chart in self.charts if not chart.is_empty)

    @property
    def empty(self) -> tuple[str, ...]:
        """The titles of the charts without a point, as a list in a sentence has them."""
        titles = [chart.title for chart in self.charts if chart.is_empty]
        return tuple(
            title if title[:2].isupper() else title[:1].lower() + title[1:] for title in titles
        )

    @property
    def columns(self) -> tuple[ClimbColumn, ...]:
        """The columns of the table."""
        initial = climb_picture.initial_name(self.climb.rounds)
        votes = climb_picture.votes_by(self.climb.rounds)
        by = (votes, "reward model")
        return (
            ClimbColumn(f"Win rate over {initial}", ("votes_sft", "scores_sft"), by),
            ClimbColumn("Win rate over the previous policy", ("votes_last", "scores_last"), by),
            ClimbColumn("Agreement", ("agreement",)),
            ClimbColumn(
                "Held-out votes",
                ("accuracy", "human_level", "ceiling_high"),
                ("reward model", "human level", "noise ceiling"),
            ),
            ClimbColumn("KL (nats)", ("kl_nats",)),
            ClimbColumn("Length", ("length", "length_sft"), ("policy", initial)),
        )

    @property
    def rows(self) -> tuple[ClimbRow, ...]:
        """The rows of the table, the oldest round first."""
        names = [name for column in self.columns for name in column.figures]
        return tuple(
            ClimbRow(round_, tuple(_cell(round_, name) for name in names))
            for round_ in self.climb.rounds
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """What was not measured, and why."""
        titles = {name: title for column in self.columns for name, title in column.titles}
        return climb_picture.missing(self.climb.rounds, titles)

    @property
    def judges(self) -> tuple[tuple[int, str], ...]:
        """The rounds in which an AI judge voted in the place of people."""
        return tuple((each.number, each.votes_by) for each in self.climb.rounds if each.votes_by)

    @property
    def last_decided(self) -> tuple[ClimbRound, Cell] | None:
        """The newest round whose win rate over the previous policy was voted on."""
        cells = [(round_, _cell(round_, "votes_last")) for round_ in self.climb.rounds]
        voted = [(round_, cell) for round_, cell in cells if cell.value]
        return voted[-1] if voted else None


def view(climb: Climb, project: Project) -> ClimbView:
    """Return a climb as pages show it."""
    if not climb.rounds:
        return ClimbView(climb, None)
    title = f"{project.name}: the climb over {_count(climb.rounds)}"
    picture = climb_picture.picture(climb, title)
    figures = addresses.path("climb.figures", slug=project.slug)
    return ClimbView(climb, picture, climb_charts.of_picture(picture, project.slug, figures))


def _count(rounds: Sequence[ClimbRound]) -> str:
    return f"{len(rounds)} round{'s' if len(rounds) != 1 else ''}"


def _cell(round_: ClimbRound, name: str) -> Cell:
    measure = climb_figures.named(round_)[name]
    if isinstance(measure.value, Undefined):
        return Cell("")
    if name == "ceiling_high":
        low = round_.ceiling_low.value
        assert not isinstance(low, Undefined)  # both ends are recorded together
        return Cell(f"{100 * low:.0f}–{100 * measure.value:.0f} %")
    scale, digits = (100.0, 1) if name in _SHARES else (1.0, _DIGITS.get(name, 0))
    value = f"{scale * measure.value:,.{digits}f}" + (" %" if name in _SHARES else "")
    enough = climb_figures.is_enough(name, measure) is not False
    if not isinstance(measure.interval, Interval):
        return Cell(value, is_enough=enough)
    ends = (scale * end for end in (measure.interval.low, measure.interval.high))
    return Cell(value, f"[{', '.join(f'{end:.{digits}f}' for end in ends)}]", enough)
