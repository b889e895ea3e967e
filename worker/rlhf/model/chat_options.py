"""How conversations are rendered for a model: the choices that a chat template leaves open."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Arguments of the template, system turns that it lacks, and the end of hidden reasoning.

    Attributes:
        arguments: passed to the template by name, as in `enable_thinking=False`.
        folds_system: put a system turn that the template lacks in front of the next turn; if
            False, such a prompt is refused.
        thought_end: the text that ends a response's reasoning, which scores ignore; "" if none.
    """

    arguments: Mapping[str, Scalar] = field(default_factory=dict)
    folds_system: bool = True
    thought_end: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """The options as JSON values, or nothing where all have their defaults."""
        return {} if self == DEFAULT else {"chat": asdict(self)}


DEFAULT = ChatOptions()
"""For a model whose project chooses nothing."""
