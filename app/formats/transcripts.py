r"""Transcripts in one text: "\n\nHuman: …\n\nAssistant: …" turns, as Anthropic's data have them."""

import re

from app.errors import Invalid
from app.formats.records import Message, Messages

TURN = re.compile(r"\n\n(Human|Assistant):")
NAMES = {"user": "Human", "assistant": "Assistant"}
_ROLES = {name: role for role, name in NAMES.items()}
_OPEN = re.compile(r"\n\nAssistant: ?\Z")


def turns(transcript: str, name: str) -> Messages:
    """Cut a transcript into its turns. Raises Invalid where it does not start with one."""
    before, *rest = TURN.split("\n\n" + transcript.lstrip("\n"))
    if before or not rest:
        raise Invalid(f"{name!r} does not start with 'Human:' or 'Assistant:'")
    return tuple(
        # One space belongs to the mark; any other is the speaker's.
        Message(_ROLES[who], said.removeprefix(" "))
        for who, said in zip(rest[::2], rest[1::2], strict=True)
    )


def is_open(text: str) -> bool:
    """Tell a transcript that ends where the assistant is to go on."""
    return text.lstrip("\n").startswith("Human:") and _OPEN.search(text) is not None


def open_turns(transcript: str, name: str) -> Messages:
    """Cut a transcript that ends where the assistant is to go on into the turns before that."""
    return turns(transcript, name)[:-1]
