"""OpenAI's preference fine-tuning rows: `input`, `preferred_output`, `non_preferred_output`."""

from app.formats import fields
from app.formats.format import Format, has
from app.formats.preference_pairs import chosen_and_rejected, pair
from app.formats.records import PreferenceRecord, Row


def read(row: Row) -> list[PreferenceRecord]:
    """Read one preference; tools are ignored."""
    source = fields.inner(row, "input")
    turns = fields.messages(fields.items(source, "messages"), "messages")
    chosen = fields.reply(row.get("preferred_output"), "preferred_output")
    rejected = fields.reply(row.get("non_preferred_output"), "non_preferred_output")
    return [chosen_and_rejected(turns, chosen, rejected, margin=fields.margin(row))]


def write(record: PreferenceRecord) -> Row:
    """Write one preference."""
    chosen, rejected = pair(record)
    return {
        "input": {
            "messages": fields.as_messages(record.messages),
            "tools": [],
            "parallel_tool_calls": True,
        },
        "preferred_output": [{"role": "assistant", "content": chosen}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }


FORMAT = Format(
    "openai-preference",
    "OpenAI preferences",
    has("input", "preferred_output", "non_preferred_output"),
    read,
    fields=("input", "preferred_output", "non_preferred_output", *fields.MARGINS),
)
