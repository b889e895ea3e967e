"""The choice that a round was launched with: its name, and what was changed of it."""

from dataclasses import dataclass
from enum import StrEnum


class ChoiceName(StrEnum):
    """How much a round does."""

    QUICK = "quick"
    BALANCED = "balanced"
    THOROUGH = "thorough"


TITLES = {
    ChoiceName.QUICK: "Quick look",
    ChoiceName.BALANCED: "Balanced",
    ChoiceName.THOROUGH: "Thorough",
}

_WRITTEN = {"heldout": "held-out", "kl": "KL", "lora": "LoRA", "sft": "SFT"}


@dataclass(frozen=True, slots=True)
class LaunchChoice:
    """A choice as a plan records it.

    Attributes:
        name: of the choice.
        changed: the settings that differ from it, each as "prompts 300 instead of 400".
        reduced: what the project has too little of, each with the reason.
    """

    name: ChoiceName = ChoiceName.BALANCED
    changed: tuple[str, ...] = ()
    reduced: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES[self.name]

    @property
    def changes(self) -> tuple[str, ...]:
        """What was changed, for people: as in "held-out prompts 30 instead of 50"."""
        return tuple(_in_words(text) for text in self.changed)

    @property
    def words(self) -> str:
        """The choice for people, as in "Balanced, changed: prompts 300 instead of 400"."""
        return f"{self.title}, changed: {'; '.join(self.changes)}" if self.changed else self.title


def _in_words(changed: str) -> str:
    """Return a change with the setting's words in place of its name in the plan."""
    name, rest = changed.split(" ", 1)
    words = name.replace(".", " ").replace("_", " ").split()
    return " ".join((*(_WRITTEN.get(word, word) for word in words), rest))
