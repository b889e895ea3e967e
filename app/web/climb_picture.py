"""The climb as a picture: all its panels in one file. Pages draw each as a chart of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain import climb
from app.domain.climb import Climb, ClimbRound
from app.domain.measures import Undefined
from app.domain.recommendations import EVEN
from app.web.climb_panels import WIDTH, ClimbPanel, Series, rounds_in_words

KEY = (
    "Bars: 95 % intervals, clustered by prompt. Hollow: not enough to tell, because the interval "
    "is wider than ±10 points and, for a win rate, contains 50 %."
)
_COLUMNS, _GAP, _HEAD, _FOOT = 3, 24, 44, 30


@dataclass(frozen=True, slots=True)
class Picture:
    """All panels, and their places in a file of their own."""

    title: str
    panels: tuple[ClimbPanel, ...]
    key: str = KEY

    @property
    def placed(self) -> tuple[tuple[int, int, ClimbPanel], ...]:
        """The panels with their left and top edges."""
        return tuple(
            (
                _GAP + at % _COLUMNS * (WIDTH + _GAP),
                _HEAD + at // _COLUMNS * self._row_height,
                panel,
            )
            for at, panel in enumerate(self.panels)
        )

    @property
    def width(self) -> int:
        """The width of the file's picture."""
        return _GAP + _COLUMNS * (WIDTH + _GAP)

    @property
    def height(self) -> int:
        """The height of the file's picture."""
        return _HEAD + -(-len(self.panels) // _COLUMNS) * self._row_height + _FOOT

    @property
    def _row_height(self) -> int:
        return max(panel.height for panel in self.panels) + _GAP


def picture(shown: Climb, title: str) -> Picture:
    """Return the picture of a climb that has rounds."""
    rounds = shown.rounds
    votes, initial = votes_by(rounds), initial_name(rounds)
    return Picture(
        title,
        (
            *_win_rates(rounds, votes, initial),
            ClimbPanel(
                "Agreement of the round’s judgments",
                rounds,
                (Series("agreement", "agreement", climb.is_precise),),
                y_name="Raw agreement",
            ),
            ClimbPanel(
                "Reward model on held-out votes",
                rounds,
                (
                    Series("accuracy", "accuracy", climb.is_precise),
                    Series("human level", "human_level"),
                ),
                has_ceiling=True,
                y_name="Accuracy",
            ),
            ClimbPanel(
                f"KL to {initial}, nats per response",
                rounds,
                (Series("policy", "kl_nats"),),
                is_share=False,
                digits=2,
                y_name="KL per response",
                unit="nats",
            ),
            ClimbPanel(
                "Mean length of a response, characters",
                rounds,
                (Series("policy", "length"), Series(initial, "length_sft")),
                is_share=False,
                y_name="Length",
                unit="characters",
            ),
        ),
    )


def _win_rates(rounds: tuple[ClimbRound, ...], votes: str, initial: str) -> tuple[ClimbPanel, ...]:
    return (
        ClimbPanel(
            f"Win rate over {initial}",
            rounds,
            (
                Series(votes, "votes_sft", climb.is_even_enough),
                Series("reward model", "scores_sft", climb.is_even_enough),
            ),
            mark=EVEN,
            y_name="Win rate",
        ),
        ClimbPanel(
            "Win rate over the previous policy",
            rounds,
            (
                Series(votes, "votes_last", climb.is_even_enough),
                Series("reward model", "scores_last", climb.is_even_enough),
            ),
            mark=EVEN,
            y_name="Win rate",
        ),
    )


def votes_by(rounds: Sequence[ClimbRound]) -> str:
    """Return whose votes the win rates are of."""
    judged = [bool(each.votes_by) for each in rounds]
    if all(judged):
        return "AI judge"
    return "people or an AI judge" if any(judged) else "people"


def initial_name(rounds: Sequence[ClimbRound]) -> str:
    """Return the model that all rounds were held to, or what several have in common."""
    names = {each.initial for each in rounds}
    return names.pop() if len(names) == 1 else "the SFT model"


def missing(rounds: Sequence[ClimbRound], titles: Mapping[str, str]) -> tuple[str, ...]:
    """Return what was not measured, with the reason, in a sentence for each reason."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for round_ in rounds:
        for field, title in titles.items():
            value = getattr(round_, field).value
            if isinstance(value, Undefined):
                numbers.setdefault((title, value.reason), []).append(round_.number)
    return tuple(
        f"{title}, {rounds_in_words(found)}: {reason}."
        for (title, reason), found in numbers.items()
    )
