"""RealToxicityPrompts: sentence beginnings from the web, for measuring toxic continuations.

Rows hold `prompt` and `continuation` objects with a `text` and the scores of a classifier. The
continuation is the text of the web page, not a good response, and is left out.
"""

from app.formats import fields
from app.formats.format import Format
from app.formats.records import PromptRecord, Row, Turn


def recognizes(row: Row) -> bool:
    """Whether prompt and continuation are objects with a text."""
    parts = [row.get("prompt"), row.get("continuation")]
    return all(isinstance(part, dict) and "text" in part for part in parts)


def read(row: Row) -> list[PromptRecord]:
    """Read one prompt; its toxicity and whether it is challenging are kept with it."""
    prompt = fields.inner(row, "prompt")
    notes = fields.rest(row, set())
    if (toxicity := fields.optional_number(prompt, "toxicity")) is not None:
        notes["toxicity"] = toxicity
    return [PromptRecord((Turn("user", fields.text(prompt, "text")),), meta=notes)]


FORMAT = Format(
    "real-toxicity-prompts",
    "RealToxicityPrompts",
    recognizes,
    read,
    fields=("prompt",),
    ignores={"continuation": "the text of the web page, not a good response"},
    keeps_notes=True,
)
