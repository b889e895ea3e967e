"""The instruction in the rows of an export: what labelers judged under goes with what they said.

A comparison that was judged under several texts makes rows under each of them. If a lead has
settled it, the rows are those of the settlement, under the newest of them. Judgments from files
were made under no version of the project's instruction, so nothing is added to theirs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from app.domain import instruction_text
from app.domain.instruction_text import InstructionPlace
from app.errors import Invalid
from app.formats.training_rows import DatasetPrompt
from app.services.datasets.judged_comparisons import JudgedComparison, Voted

FIELD = "instruction"
"""The field that holds the instruction apart from the prompt."""
WITH_FIELD = frozenset({"rich", "unpaired", "demonstrations", "trl-implicit", "trl-explicit"})
"""The formats that may have further fields, and are read back as themselves with this one."""
OF_TEXTS = frozenset(
    {"hh", "vertex-rlhf", "demonstrations-text", "trl-implicit-text", "trl-explicit-text"}
)
"""The formats without system turns: there the instruction stands in front of the first turn."""
NEVER = frozenset({"training"})
"""Training rows list the versions; the round that trains on them adds its own instruction."""


OF_VOTES = frozenset({"rich", "demonstrations", "demonstrations-text"})
"""The formats whose rows hold what labelers said, also if a lead has settled the comparison."""

Row = Mapping[str, Any]
OfPart = Callable[[JudgedComparison], Iterator[Row]]


@dataclass(slots=True)
class InstructionAccount:
    """The versions behind the rows of an export, and the comparisons that several of them share."""

    texts: dict[int, str] = field(default_factory=dict)
    divided: int = 0

    def note(self, comparison: JudgedComparison) -> None:
        """Record the versions that a comparison was judged under."""
        for vote in comparison.votes:
            if vote.instruction_version not in self.texts:
                self.texts[vote.instruction_version] = comparison.instruction_of(vote)


class DividedAccount(Protocol):
    """What an export has counted so far."""

    instruction: InstructionAccount

    def as_one(self) -> AbstractContextManager[None]:
        """Count the parts of a comparison as one."""


def check(format: str, place: InstructionPlace) -> None:
    """Refuse a place that a format does not have.

    Raises:
        Invalid: the format cannot have the instruction apart.
    """
    if place is InstructionPlace.APART and format not in WITH_FIELD | NEVER:
        raise Invalid(
            f"format {format!r} has no field for the instruction; choose instruction=prompt, or "
            f"one of {', '.join(sorted(WITH_FIELD))}"
        )


def rows(
    format: str,
    place: InstructionPlace,
    comparison: JudgedComparison,
    account: DividedAccount,
    of_part: OfPart,
) -> Iterator[Row]:
    """Return the rows of a comparison, each with the instruction that it was judged under."""
    if format in NEVER or place is InstructionPlace.NONE:
        parts = {"": comparison}
    elif comparison.is_settled and format not in OF_VOTES:
        parts = {newest_text(comparison): comparison}
    else:
        parts = by_text(comparison)
    if len(parts) == 1:
        ((text, part),) = parts.items()
        return _rows_of_part(format, place, part, text, account, of_part)
    return _rows_of_parts(format, place, parts, account, of_part)


def _rows_of_parts(
    format: str,
    place: InstructionPlace,
    parts: Mapping[str, JudgedComparison],
    account: DividedAccount,
    of_part: OfPart,
) -> Iterator[Row]:
    account.instruction.divided += 1
    with account.as_one():
        for text, part in parts.items():
            yield from _rows_of_part(format, place, part, text, account, of_part)


def _rows_of_part(
    format: str,
    place: InstructionPlace,
    part: JudgedComparison,
    text: str,
    account: DividedAccount,
    of_part: OfPart,
) -> Iterator[Row]:
    is_apart = place is InstructionPlace.APART and format in WITH_FIELD
    is_written = False
    for row in of_part(_placed(part, text, format, place)):
        is_written = True
        yield {**row, FIELD: text} if is_apart else row
    if is_written:
        account.instruction.note(part)


def imported(format: str, place: InstructionPlace, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows from files, which were made under no instruction."""
    is_apart = place is InstructionPlace.APART and format in WITH_FIELD
    return ({**row, FIELD: ""} if is_apart else row for row in rows)


def newest_text(comparison: JudgedComparison) -> str:
    """Return the newest text that a comparison was judged under; a settlement came after it."""
    newest = max(comparison.votes, key=lambda vote: vote.instruction_version)
    return comparison.instruction_of(newest)


def by_text(comparison: JudgedComparison) -> dict[str, JudgedComparison]:
    """Return a comparison for each text that it was judged under, the earliest version first."""
    if len({vote.instruction_version for vote in comparison.votes}) == 1:  # the usual case
        return {comparison.instruction_of(comparison.votes[0]): comparison}
    votes: dict[str, list[Voted]] = {}
    for vote in sorted(comparison.votes, key=lambda vote: vote.instruction_version):
        votes.setdefault(comparison.instruction_of(vote), []).append(vote)
    if len(votes) < 2:
        return dict.fromkeys(votes, comparison) or {"": comparison}
    in_order = (sorted(part, key=comparison.votes.index) for part in votes.values())
    return {
        text: replace(comparison, votes=tuple(part))
        for text, part in zip(votes, in_order, strict=True)
    }


def prompt_of(prompt: DatasetPrompt, text: str, format: str) -> DatasetPrompt:
    """Return a prompt as the model saw it, as far as the format can say it."""
    turns = [(str(turn["role"]), str(turn["content"])) for turn in prompt.messages]
    combine = instruction_text.in_front if format in OF_TEXTS else instruction_text.as_system
    messages = tuple({"role": role, "content": content} for role, content in combine(turns, text))
    return replace(prompt, messages=messages)


def _placed(
    part: JudgedComparison, text: str, format: str, place: InstructionPlace
) -> JudgedComparison:
    if not text or place is not InstructionPlace.PROMPT:
        return part
    return replace(part, prompt=prompt_of(part.prompt, text, format))
