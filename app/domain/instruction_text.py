"""A project's instruction as part of a prompt, the same for models, exports and training.

A prompt has at most one system turn, as most chat templates do: the instruction becomes that turn,
or stands in front of the one that the prompt has. Where there are no system turns, it stands in
front of the first turn. A prompt that begins with it, such as one from an export of this project,
does not get it twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Turn = tuple[str, str]

UNKNOWN = 0
"""The version of what was imported: it was made under no version of this project's instruction."""
_GAP = "\n\n"


class InstructionPlace(StrEnum):
    """Where a row of an export has the instruction."""

    PROMPT = "prompt"
    APART = "apart"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class InstructionText:
    """A version of a project's instruction; an empty text adds nothing to a prompt."""

    version: int
    text: str


def normalized(text: str) -> str:
    """Return an instruction as it is stored; forms send line breaks as CRLF."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def as_system(turns: Sequence[Turn], instruction: str) -> tuple[Turn, ...]:
    """Return a prompt with the instruction in its system turn."""
    if instruction and turns and turns[0][0] == "system":
        return in_front(turns, instruction)
    return (("system", instruction), *turns) if instruction else tuple(turns)


def in_front(turns: Sequence[Turn], instruction: str) -> tuple[Turn, ...]:
    """Return a prompt with the instruction in front of its first turn."""
    if not instruction or not turns:
        return tuple(turns)
    (role, content), *others = turns
    if f"{content}{_GAP}".startswith(f"{instruction}{_GAP}"):
        return tuple(turns)
    return ((role, f"{instruction}{_GAP}{content}"), *others)


def is_in(turns: Sequence[Turn], instruction: str) -> bool:
    """Whether a prompt has the instruction in its system turn already."""
    return bool(instruction) and as_system(turns, instruction) == tuple(turns)
