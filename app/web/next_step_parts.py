"""What the words of every next step are made of: buttons, and the phrases that several share."""

from dataclasses import dataclass

from app.services.rounds.next_step import LabelingFigures
from app.web import addresses


@dataclass(frozen=True, slots=True)
class Button:
    """A link, or a form where `is_post`; `confirm` is asked before the form is sent."""

    label: str
    url: str
    is_post: bool = False
    is_main: bool = False
    confirm: str = ""


@dataclass(frozen=True, slots=True)
class NextStepWords:
    """What to do now, as a page shows it."""

    heading: str
    sentence: str
    buttons: tuple[Button, ...]


def import_button(slug: str, *, is_main: bool = True) -> Button:
    """Return the button that leads to the form for files."""
    return Button("Import a file", addresses.path("prompts.show", slug=slug), is_main=is_main)


def leaderboard_button(slug: str, *, is_main: bool = False) -> Button:
    """Return the button that leads to the leaderboard."""
    return Button("Leaderboard", addresses.path("leaderboard.show", slug=slug), is_main=is_main)


def export_button(slug: str, *, is_main: bool = False) -> Button:
    """Return the button that leads to the exports."""
    return Button("Export", addresses.path("exports.show_all", slug=slug), is_main=is_main)


def invite_button(slug: str) -> Button:
    """Return the button that leads to the labelers."""
    return Button("Invite labelers", addresses.path("labelers.show", slug=slug))


def labeling_sentence(figures: LabelingFigures) -> str:
    """Say how far labelers are, how far they agree and how long the rest will take."""
    sentence = f"{figures.done:,} of {count(figures.wanted, 'judgment')} made."
    if figures.agreement is not None:
        sentence += (
            f" In this round, any two labelers agree {100 * figures.agreement:.0f} % of the time."
        )
    if figures.minutes_left is None:
        return f"{sentence} No judgments in the last half hour."
    if figures.minutes_left < 90:
        return f"{sentence} About {max(round(figures.minutes_left), 1)} min left at this pace."
    return f"{sentence} About {figures.minutes_left / 60:.0f} hours left at this pace."


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
