"""Google Vertex tuning files: prompt sets (`input_text`) and human preferences on top of them.

Preference rows are `input_text, candidate_0, candidate_1, choice`. Prompts are single texts, so a
conversation cannot be written. Results of a batch of prompts are `inputs, prediction`, the prompt
in `inputs` under `inputs_pretokenized`.
"""

import hashlib

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import (
    Candidate,
    CompletionsRecord,
    DemonstrationRecord,
    Message,
    PreferenceRecord,
    PromptRecord,
    Row,
    pair,
)

_ASKED = "inputs_pretokenized"


def read_prompt(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read one prompt; an `output_text` beside it, as supervised tuning has, is a good answer."""
    asked = (Message("user", fields.text(row, "input_text")),)
    answer = fields.optional_text(row, "output_text")
    return [PromptRecord(asked) if answer is None else DemonstrationRecord(asked, answer)]


def read_preference(row: Row) -> list[PreferenceRecord]:
    """Read one preference; candidates keep the file's order."""
    choice = fields.whole(row, "choice")
    if choice not in (0, 1):
        raise Invalid(f"'choice' must be 0 or 1, not {choice}")
    return [
        PreferenceRecord(
            (Message("user", fields.text(row, "input_text")),),
            (
                Candidate(fields.text(row, "candidate_0")),
                Candidate(fields.text(row, "candidate_1")),
            ),
            Ranking((1, 2) if choice == 0 else (2, 1)),
            margin=fields.optional_number(row, "margin"),
        )
    ]


def read_result(row: Row) -> list[CompletionsRecord]:
    """Read what a model answered to one prompt; an empty answer is kept, models write them."""
    inputs = row["inputs"]
    asked = inputs if isinstance(inputs, str) else fields.text(fields.inner(row, "inputs"), _ASKED)
    answer = Candidate(fields.text(row, "prediction"))
    return [CompletionsRecord((Message("user", asked),), (answer,))]


def write_result(prompt: str, prediction: str) -> Row:
    """Write what a model answered to one prompt."""
    return {"inputs": {_ASKED: prompt}, "prediction": prediction}


def write_prompt(record: PromptRecord) -> Row:
    """Write one prompt."""
    return {"input_text": fields.as_text(record.messages)}


def write_preference(record: PreferenceRecord) -> Row:
    """Write one preference.

    Which one is candidate 0 is a coin flip on the texts, so that it says nothing of the choice, two
    votes on one pair number it alike, and the same data give the same bytes.
    """
    prompt, (chosen, rejected) = fields.as_text(record.messages), pair(record)
    candidates = sorted([chosen, rejected])
    coin = hashlib.sha256("\0".join([prompt, *candidates]).encode()).digest()[0] & 1
    if coin:
        candidates.reverse()
    return {
        "input_text": prompt,
        "candidate_0": candidates[0],
        "candidate_1": candidates[1],
        "choice": candidates.index(chosen),
    }


PREFERENCES = Format(
    "vertex-rlhf",
    "Vertex human preferences",
    has("input_text", "candidate_0", "candidate_1", "choice"),
    read_preference,
    fields=("input_text", "candidate_0", "candidate_1", "choice", "margin"),
)
RESULTS = Format(
    "vertex-results",
    "Vertex results of a model",
    has("inputs", "prediction"),
    read_result,
    fields=("inputs", "prediction"),
)
PROMPTS = Format(
    "vertex-prompts",
    "Vertex prompts",
    lambda row: "input_text" in row and "candidate_0" not in row,
    read_prompt,
    fields=("input_text", "output_text"),
    needs=has("input_text"),
)
