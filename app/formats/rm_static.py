r"""HH pairs with a separate prompt, the form of `Dahoas/rm-static`.

`prompt` is a transcript that ends with "\n\nAssistant:"; `chosen` and `rejected` are the responses.
`response` repeats the chosen one.
"""

from app.errors import Invalid
from app.formats import fields, transcripts
from app.formats.format import Format, has
from app.formats.preference_pairs import chosen_and_rejected
from app.formats.records import PreferenceRecord, Row

_NEEDS = has("prompt", "chosen", "rejected")


def recognizes(row: Row) -> bool:
    """Whether the prompt is a transcript and the responses are strings."""
    return (
        _NEEDS(row)
        and all(isinstance(row[key], str) for key in ("prompt", "chosen", "rejected"))
        and transcripts.is_open(str(row["prompt"]))
    )


def read(row: Row) -> list[PreferenceRecord]:
    """Read one pair; the space after "Assistant:" belongs to the marker."""
    responses = [fields.text(row, key) for key in ("chosen", "rejected")]
    response = fields.optional_text(row, "response")
    if response is not None and response not in responses:
        raise Invalid("'response' is neither the chosen nor the rejected text")
    chosen, rejected = (text.removeprefix(" ") for text in responses)
    turns = fields.prompt(row, "prompt")
    return [chosen_and_rejected(turns, chosen, rejected, margin=fields.margin(row))]


FORMAT = Format(
    "rm-static",
    "HH pairs with separate prompts",
    recognizes,
    read,
    fields=("prompt", "response", "chosen", "rejected", *fields.MARGINS),
)
