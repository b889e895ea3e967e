r"""Anthropic HH: `chosen` and `rejected` transcripts of "\n\nHuman: …\n\nAssistant: …" turns.

The prompt is what both have in common, cut at a turn. Rows whose transcripts diverge before the
last turn are rejected, because they do not respond to the same prompt.
"""

from itertools import pairwise

from app.errors import Invalid
from app.formats import fields, transcripts
from app.formats.format import Format
from app.formats.records import Conversation, PreferenceRecord, Row, Turn, chosen_and_rejected, pair


def recognizes(row: Row) -> bool:
    """Whether the row holds two transcripts."""
    has_prompt = {"prompt", "instruction", "conversations"} & row.keys()
    return not has_prompt and all(_is_transcript(row.get(key)) for key in ("chosen", "rejected"))


def read(row: Row) -> list[PreferenceRecord]:
    """Read one pair of transcripts."""
    chosen = transcripts.turns(fields.text(row, "chosen"), "chosen")
    rejected = transcripts.turns(fields.text(row, "rejected"), "rejected")
    prompt, responses = shared_prompt(chosen, rejected)
    return [chosen_and_rejected(prompt, *responses, margin=fields.margin(row))]


def shared_prompt(
    chosen: Conversation, rejected: Conversation
) -> tuple[Conversation, tuple[str, str]]:
    """Split two conversations into the prompt that they share and their two final responses.

    Raises Invalid if they are equal, diverge before the last turn, or do not end with a response.
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
            raise Invalid(f"{name!r} ends with a {last.role} turn, not with a response")
    return chosen[:same], (chosen[-1].content, rejected[-1].content)


def write(record: PreferenceRecord) -> Row:
    """Write one pair of transcripts.

    Raises Invalid for a system turn, two consecutive turns of the same role, or a text that holds a
    turn marker, because the transcript could not be read back.
    """
    chosen, rejected = pair(record)
    head = "".join(_transcribed(turn, n) for n, turn in enumerate(record.messages, 1))
    last = len(record.messages) + 1
    for turn, following in pairwise(record.messages):
        if turn.role == following.role:
            raise Invalid(f"HH transcripts alternate roles; two {turn.role} turns are adjacent")
    return {
        "chosen": head + _transcribed(Turn("assistant", chosen), last),
        "rejected": head + _transcribed(Turn("assistant", rejected), last),
    }


def _is_transcript(value: object) -> bool:
    if not isinstance(value, str) or "\n\nAssistant:" not in value:
        return False
    return value.lstrip("\n").startswith(("Human:", "Assistant:"))


def _transcribed(turn: Turn, number: int) -> str:
    if turn.role not in transcripts.NAMES:
        raise Invalid(f"HH transcripts have no {turn.role} turns")
    transcribed = f"\n\n{transcripts.NAMES[turn.role]}: {turn.content}"
    if len(transcripts.TURN.findall(transcribed)) > 1:
        raise Invalid(f"turn {number} contains 'Human:' or 'Assistant:' after an empty line")
    return transcribed


FORMAT = Format(
    "hh",
    "Anthropic HH transcripts",
    recognizes,
    read,
    fields=("chosen", "rejected", *fields.MARGINS),
)
