"""A project's settings for chat templates, kept in its row and in the plan of each round."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.domain import json_dataclasses
from app.errors import Invalid

Scalar = str | int | float | bool | None

ARGUMENTS_MOST = 32
MARK_MOST = 100
OURS = frozenset(
    {
        *("conversation", "messages", "tools", "documents", "chat_template", "tokenizer_kwargs"),
        *("add_generation_prompt", "continue_final_message", "tokenize", "sanitize_control_tokens"),
        *("padding", "truncation", "max_length", "return_tensors", "return_dict"),
        "return_assistant_tokens_mask",
    }
)
"""Arguments that belong to rendering itself."""


class SystemTurns(StrEnum):
    """What becomes of a system turn, such as the instruction, if the chat template has none."""

    FOLD = "fold"  # put in front of the next turn
    REFUSE = "refuse"  # the prompt is left out and reported


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Arguments of the chat template, system turns, and the end of hidden reasoning.

    A response is shown to labelers and scored without what comes before the last `thought_end`; it
    is stored in full, and policies are trained on all of it. "" hides nothing.
    """

    system_turns: SystemTurns = SystemTurns.FOLD
    template_arguments: Mapping[str, Scalar] = field(default_factory=dict)
    thought_end: str = ""

    def __post_init__(self) -> None:
        if len(self.template_arguments) > ARGUMENTS_MOST:
            raise Invalid(f"a chat template takes at most {ARGUMENTS_MOST} arguments")
        for name, value in self.template_arguments.items():
            if not name.isidentifier() or name in OURS:
                raise Invalid(f"a chat template cannot be given the argument {name!r}")
            if not (value is None or isinstance(value, Scalar)):
                raise Invalid(f"argument {name} must be a text, a number, true, false or null")
        if self.thought_end != self.thought_end.strip() or len(self.thought_end) > MARK_MOST:
            raise Invalid(
                f"the end of reasoning is a mark of at most {MARK_MOST} characters without spaces "
                f"around it, not {self.thought_end!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ChatSettings":
        """Read the settings; missing ones take their defaults.

        Raises:
            Invalid: an unknown name, a value of the wrong type, or one that breaks a rule.
        """
        settings = json_dataclasses.read(cls, data, "chat")
        assert isinstance(settings, ChatSettings)
        return settings


def read_arguments(text: str) -> dict[str, Scalar]:
    """Read template arguments from a form's text, a JSON object.

    Raises:
        Invalid: the text is no JSON object.
    """
    try:
        arguments = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise Invalid(f"template arguments are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise Invalid(
            f'template arguments are a JSON object such as {{"enable_thinking": false}}, not {text}'
        )
    return arguments


def without_reasoning(text: str, thought_end: str) -> str:
    """Return a response without its reasoning: what follows the last mark, or all without one."""
    if not thought_end or thought_end not in text:
        return text
    return text.rpartition(thought_end)[2].lstrip()
