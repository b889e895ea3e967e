r"""Anthropic HH: `chosen` and `rejected` transcripts of "\n\nHuman: …\n\nAssistant: …" turns.

The prompt is what both have in common, cut at a turn. Transcripts that diverge before the last turn
are two responses to the same follow-ups if the user says the same in both; otherwise the row is
rejected, because they do not respond to the same prompt.
"""

from itertools import pairwise

from app.errors import Invalid
from app.formats import fields, transcripts
from app.formats.format import Format
from app.formats.preference_pairs import chosen_and_rejected, conversation_pair
from app.formats.records import Conversation, PreferenceRecord, Row, Turn


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
) -> tuple[Conversation, tuple[Conversation, Conversation]]:
    """Split two conversations into the prompt that they share and the turns of each after it.

    The last of these turns is the response. There are others only in conversations with the same
    follow-ups.

    Raises Invalid if they are equal, diverge in what the user says, or do not end with a response.
    """
    if chosen == rejected:
        raise Invalid("chosen and rejected are the same")
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if not asks_the_same(chosen[same:], rejected[same:]):
        most = max(len(chosen), len(rejected))
        raise Invalid(f"chosen and rejected diverge at turn {same + 1} of {most}, in the prompt")
    for name, last in (("chosen", chosen[-1]), ("rejected", rejected[-1])):
        if last.role != "assistant":
            raise Invalid(f"{name!r} ends with a {last.role} turn, not with a response")
    return chosen[:same], (chosen[same:], rejected[same:])


def asks_the_same(chosen: Conversation, rejected: Conversation) -> bool:
    """Whether the turns after a prompt are different responses to the same follow-ups, if any."""
    if chosen == rejected or len(chosen) != len(rejected):
        return False
    if len(chosen) == 1:
        return True
    is_by_turns = all(
        turn.role == ("user" if n % 2 else "assistant")
        for turns in (chosen, rejected)
        for n, turn in enumerate(turns)
    )
    return is_by_turns and len(chosen) % 2 == 1 and chosen[1::2] == rejected[1::2]


def write(record: PreferenceRecord) -> Row:
    """Write one pair of transcripts.

    Raises Invalid for a system turn, two consecutive turns of the same role, or a text that holds a
    turn marker, because the transcript could not be read back.
    """
    chosen, rejected = (
        "".join(_transcribed(turn, n) for n, turn in enumerate([*record.messages, *one.turns], 1))
        for one in conversation_pair(record)
    )
    for turn, following in pairwise(record.messages):
        if turn.role == following.role:
            raise Invalid(f"HH transcripts alternate roles; two {turn.role} turns are adjacent")
    return {
        "chosen": chosen,
        "rejected": rejected,
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
