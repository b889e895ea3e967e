"""How a run renders conversations, and which prompts the chat template refuses.

Refused prompts are left out before a run, counted, and named with the template's own message.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from app.domain.chat_settings import ChatSettings, SystemTurns
from app.errors import Invalid
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.template import UnfitPrompt
from worker.training import token_ids

SHOWN = 5  # refused prompts that a message names

Row = TypeVar("Row")
Turns = Sequence[Mapping[str, Any]]


def options_of(settings: ChatSettings | None) -> ChatOptions:
    """Return the options of a model from the settings of a project; None has the defaults."""
    if settings is None:
        return ChatOptions()
    folds = settings.system_turns is SystemTurns.FOLD
    return ChatOptions(dict(settings.template_arguments), folds, settings.thought_end)


@dataclass(slots=True)
class Refusals:
    """The prompts that were refused, by name, with the reason."""

    what: str
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, Any]:
        """What a job's result says of them: nothing if there are none."""
        return {"remarks": self.remarks} if self.reasons else {}

    @property
    def remarks(self) -> list[str]:
        """A sentence that names them and says what can be done, or none."""
        if not self.reasons:
            return []
        count = len(self.reasons)
        shown = [f"{name}: {reason}" for name, reason in list(self.reasons.items())[:SHOWN]]
        more = [f"and {count - SHOWN} more"] if count > SHOWN else []
        return [
            f"{count} {self.what} left out, because the model's chat template refuses them "
            f"({'; '.join([*shown, *more])}); change them, the instruction or the project's "
            "settings for chat templates"
        ]


@dataclass(frozen=True, slots=True)
class Screened(Generic[Row]):
    """The rows that can be rendered, and the others."""

    kept: list[Row]
    refusals: Refusals


def screen(
    loaded: LoadedModel,
    rows: Sequence[Row],
    instruction: str,
    what: str,
    prompt_of: Callable[[Row], tuple[str, Turns]],
    *,
    is_needed: bool = True,
) -> Screened[Row]:
    """Separate the rows whose prompt the model's chat template renders from the others.

    Args:
        loaded: the model.
        rows: with a prompt each.
        instruction: added to every prompt.
        what: the rows, as in "demonstrations".
        prompt_of: returns the name and the turns of a row's prompt.
        is_needed: whether the run cannot do without any.

    Raises:
        Invalid: all are refused.

    """
    kept, refusals = list[Row](), Refusals(what)
    for row in rows:
        name, turns = prompt_of(row)
        try:
            token_ids.prompt_ids(loaded, turns, instruction)
        except UnfitPrompt as error:
            refusals.reasons[name] = str(error)
        else:
            kept.append(row)
    if is_needed and rows and not kept:
        raise Invalid(f"there is nothing to work on: {refusals.remarks[0]}")
    return Screened(kept, refusals)
