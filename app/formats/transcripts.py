r"""Transcripts with "\n\nHuman: …\n\nAssistant: …" turns in one string, as in Anthropic's data."""

import re

from app.errors import Invalid
from app.formats.records import Conversation, Turn

TURN = re.compile(r"\n\n(Human|Assistant):")
NAMES = {"user": "Human", "assistant": "Assistant"}
_ROLES = {name: role for role, name in NAMES.items()}
_OPEN = re.compile(r"\n\nAssistant: ?\Z")


def turns(transcript: str, name: str) -> Conversation:
    """Split a transcript into its turns. Raises Invalid if it does not start with one."""
    before, *rest = TURN.split("\n\n" + transcript.lstrip("\n"))
    if before or not rest:
        raise Invalid(f"{name!r} does not start with 'Human:' or 'Assistant:'")
    return tuple(
        # One space belongs to the marker; any further ones belong to the text.
        Turn(_ROLES[speaker], text.removeprefix(" "))
        for speaker, text in zip(rest[::2], rest[1::2], strict=True)
    )


def is_open(text: str) -> bool:
    """Whether the text is a transcript that ends with an empty assistant turn."""
    return text.lstrip("\n").startswith("Human:") and _OPEN.search(text) is not None


def open_turns(transcript: str, name: str) -> Conversation:
    """Split a transcript that ends with an empty assistant turn into the turns before it."""
    return turns(transcript, name)[:-1]
