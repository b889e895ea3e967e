"""Files whose responses are to be scored: responses of models, or pairs of which one was preferred.

Every format that Attune reads is supported. Of pairs, the sides are `chosen` and `rejected`, and
the subset is the row's category, as in RewardBench. Of responses, the sides are the models that the
file names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.domain import prompt_labels, vote_shares
from app.domain.vote_shares import TrainingPair
from app.errors import Invalid
from app.formats import registry
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    Conversation,
    DemonstrationRecord,
    Meta,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    UnpairedRecord,
)

CHOSEN, REJECTED = "chosen", "rejected"
UNNAMED = "responses"  # of a model that the file does not name


@dataclass(frozen=True, slots=True)
class FileRow:
    """A prompt with a response per side; `earlier` are the turns before one to a follow-up."""

    line: int
    messages: Conversation
    texts: Mapping[str, str]
    subset: str = ""
    earlier: Mapping[str, Conversation] = field(default_factory=dict)

    def turns_before(self, side: str) -> Conversation:
        """Return the conversation that the response of a side ends."""
        return (*self.messages, *self.earlier.get(side, ()))


@dataclass(slots=True)
class FileRows:
    """The rows of a file; `left_out` counts rows and responses by reason."""

    is_judged: bool = False
    sides: list[str] = field(default_factory=list)
    rows: list[FileRow] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def add(self, row: FileRow) -> None:
        """Add a row, and its sides if they are new."""
        self.rows.append(row)
        self.sides += [side for side in row.texts if side not in self.sides]

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count something that is not scored."""
        self.left_out[reason] = self.left_out.get(reason, 0) + count

    @property
    def remarks(self) -> list[str]:
        """What was left out, in words."""
        return [f"{count} left out: {reason}" for reason, count in self.left_out.items()]


def read(chunks: Iterable[bytes], format_name: str | None = None) -> FileRows:
    """Read the responses of a file, or its judged pairs.

    Raises:
        Invalid: no row has a response; the message says what the file has.
    """
    found = FileRows()
    for line, record in registry.numbered(chunks, format_name):
        _add(found, line, record)
    if not found.rows:
        listed = "; ".join(found.remarks) or "it is empty"
        raise Invalid(f"the file has no response to score ({listed})")
    return found


def _add(found: FileRows, line: int, record: Record | Rejected) -> None:
    match record:
        case Rejected():
            found.leave_out(record.reason)
        case PromptRecord():
            found.leave_out("a prompt without a response")
        case PreferenceRecord() | ComparisonRecord():
            if found.rows and not found.is_judged:
                found.leave_out("a judged pair among responses without judgments")
                return
            found.is_judged = True
            _add_pairs(found, line, record)
        case _ if found.is_judged:
            found.leave_out("a response without a judgment among judged pairs")
        case _:
            _add_responses(found, line, record)


def _add_pairs(found: FileRows, line: int, record: PreferenceRecord | ComparisonRecord) -> None:
    candidates = record.candidates
    decided = [pair for pair in _pairs(record, len(candidates)) if pair.share != 0.5]
    if not decided:
        found.leave_out("no response was preferred")
    for pair in decided:
        better, worse = pair.first, pair.second
        if pair.share < 0.5:
            better, worse = worse, better
        sides = {CHOSEN: candidates[better], REJECTED: candidates[worse]}
        found.add(_row(line, record.messages, sides, record.meta))


def _pairs(record: PreferenceRecord | ComparisonRecord, count: int) -> tuple[TrainingPair, ...]:
    if isinstance(record, PreferenceRecord):
        return vote_shares.pairs([record], count)
    if record.is_settled_as_bad:
        return ()
    if record.settled is not None:
        return vote_shares.settled_pairs(record.settled, len(record.votes))
    return vote_shares.pairs(record.votes, count)


def _add_responses(
    found: FileRows, line: int, record: CompletionsRecord | DemonstrationRecord | UnpairedRecord
) -> None:
    sides: dict[str, CompletionText] = {}
    for side, response in _responses(record):
        if side in sides:
            found.leave_out(f"a further response of {side!r} to the same prompt")
        else:
            sides[side] = response
    found.add(_row(line, record.messages, sides, record.meta))


def _responses(
    record: CompletionsRecord | DemonstrationRecord | UnpairedRecord,
) -> list[tuple[str, CompletionText]]:
    match record:
        case DemonstrationRecord():
            return [(UNNAMED, CompletionText(record.response))]
        case UnpairedRecord():
            return [(UNNAMED, CompletionText(record.text))]
        case CompletionsRecord():
            return [(one.source or UNNAMED, one) for one in record.completions]


def _row(
    line: int, messages: Conversation, sides: Mapping[str, CompletionText], meta: Meta
) -> FileRow:
    return FileRow(
        line,
        messages,
        {side: response.text for side, response in sides.items()},
        prompt_labels.of_notes(meta).category,
        {side: response.earlier for side, response in sides.items() if response.earlier},
    )
