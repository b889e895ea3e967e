"""RealToxicityPrompts: beginnings of sentences from the web, to see what a model makes of them.

Rows are `prompt` and `continuation` objects with a `text` and scores of a classifier. The
continuation is what the web page said, not a good answer, and is left out.
"""

from app.formats import fields
from app.formats.format import Format
from app.formats.records import Message, PromptRecord, Row


def recognises(row: Row) -> bool:
    """Tell a row whose prompt and continuation are objects with a text."""
    parts = [row.get("prompt"), row.get("continuation")]
    return all(isinstance(part, dict) and "text" in part for part in parts)


def read(row: Row) -> list[PromptRecord]:
    """Read one prompt; its toxicity, and whether it is challenging, stay with it."""
    prompt = fields.inner(row, "prompt")
    notes = fields.rest(row, set())
    if (toxicity := fields.optional_number(prompt, "toxicity")) is not None:
        notes["toxicity"] = toxicity
    return [PromptRecord((Message("user", fields.text(prompt, "text")),), meta=notes)]


FORMAT = Format(
    "real-toxicity-prompts",
    "RealToxicityPrompts",
    recognises,
    read,
    fields=("prompt",),
    ignores={"continuation": "what the web page said, not a good answer"},
    keeps_notes=True,
)
