r"""Anthropic HH: `chosen` and `rejected` transcripts of "\n\nHuman: …\n\nAssistant: …" turns.

The prompt is what both share, cut at a turn. Rows whose transcripts diverge before the last turn
are refused: they do not answer the same prompt.
"""

from app.errors import Invalid
from app.formats import fields, transcripts
from app.formats.format import Format
from app.formats.records import Message, Messages, PreferenceRecord, Row, chosen_and_rejected, pair


def recognises(row: Row) -> bool:
    """Tell a row of two transcripts."""
    has_prompt = {"prompt", "instruction", "conversations"} & row.keys()
    return not has_prompt and all(_is_transcript(row.get(key)) for key in ("chosen", "rejected"))


def read(row: Row) -> list[PreferenceRecord]:
    """Read one pair of transcripts."""
    chosen = transcripts.turns(fields.text(row, "chosen"), "chosen")
    rejected = transcripts.turns(fields.text(row, "rejected"), "rejected")
    prompt, answers = shared_prompt(chosen, rejected)
    return [chosen_and_rejected(prompt, *answers, margin=fields.margin(row))]


def shared_prompt(chosen: Messages, rejected: Messages) -> tuple[Messages, tuple[str, str]]:
    """Cut two conversations into the prompt both answer, and the two last answers.

    Raises Invalid where they are the same, diverge before the last turn, or do not end in answers.
    """
    if chosen == rejected:
        raise Invalid("chosen and rejected are the same")
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if len(chosen) != same + 1 or len(rejected) != same + 1:
        most = max(len(chosen), len(rejected))
        raise Invalid(f"chosen and rejected diverge at turn {same + 1} of {most}, in the prompt")
    for name, last in (("chosen", chosen[-1]), ("rejected", rejected[-1])):
        if last.role != "assistant":
            raise Invalid(f"{name!r} ends with a turn of the {last.role}, not with an answer")
    return chosen[:same], (chosen[-1].content, rejected[-1].content)


def write(record: PreferenceRecord) -> Row:
    """Write one pair of transcripts.

    Raises Invalid for a system turn, two turns of one side in a row, or a text that holds a turn's
    mark: the transcript could not be read back.
    """
    chosen, rejected = pair(record)
    head = "".join(_said(turn, n) for n, turn in enumerate(record.messages, 1))
    last = len(record.messages) + 1
    for one, other in zip(record.messages, record.messages[1:], strict=False):
        if one.role == other.role:
            raise Invalid(f"HH transcripts take turns; two of the {one.role} follow each other")
    return {
        "chosen": head + _said(Message("assistant", chosen), last),
        "rejected": head + _said(Message("assistant", rejected), last),
    }


def _is_transcript(value: object) -> bool:
    if not isinstance(value, str) or "\n\nAssistant:" not in value:
        return False
    return value.lstrip("\n").startswith(("Human:", "Assistant:"))


def _said(turn: Message, number: int) -> str:
    if turn.role not in transcripts.NAMES:
        raise Invalid(f"HH transcripts have no {turn.role} turns")
    said = f"\n\n{transcripts.NAMES[turn.role]}: {turn.content}"
    if len(transcripts.TURN.findall(said)) > 1:
        raise Invalid(f"turn {number} holds 'Human:' or 'Assistant:' after an empty line")
    return said


FORMAT = Format(
    "hh",
    "Anthropic HH transcripts",
    recognises,
    read,
    fields=("chosen", "rejected", *fields.MARGINS),
)
