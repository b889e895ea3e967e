r"""HH pairs with the prompt apart, as `Dahoas/rm-static` has them.

`prompt` is a transcript that ends with "\n\nAssistant:", `chosen` and `rejected` are the texts that
go on from there. `response` repeats the chosen one.
"""

from app.errors import Invalid
from app.formats import fields, transcripts
from app.formats.format import Format, has
from app.formats.records import PreferenceRecord, Row, chosen_and_rejected

_NEEDS = has("prompt", "chosen", "rejected")


def recognises(row: Row) -> bool:
    """Tell a row whose prompt is a transcript and whose answers are texts."""
    return (
        _NEEDS(row)
        and all(isinstance(row[key], str) for key in ("prompt", "chosen", "rejected"))
        and transcripts.is_open(str(row["prompt"]))
    )


def read(row: Row) -> list[PreferenceRecord]:
    """Read one pair; the space after "Assistant:" belongs to the mark."""
    answers = [fields.text(row, key) for key in ("chosen", "rejected")]
    response = fields.optional_text(row, "response")
    if response is not None and response not in answers:
        raise Invalid("'response' is neither the chosen nor the rejected text")
    chosen, rejected = (answer.removeprefix(" ") for answer in answers)
    turns = fields.prompt(row, "prompt")
    return [chosen_and_rejected(turns, chosen, rejected, margin=fields.margin(row))]


FORMAT = Format(
    "rm-static",
    "HH pairs with their prompt apart",
    recognises,
    read,
    fields=("prompt", "response", "chosen", "rejected", *fields.MARGINS),
)
