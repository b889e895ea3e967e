"""Google Vertex tuning files: prompt sets (`input_text`), human preferences, and batch results.

Preference rows are `input_text, candidate_0, candidate_1, choice`. Prompts are single texts, so a
conversation cannot be written. Results of a batch prediction are `inputs, prediction`, with the
prompt under `inputs_pretokenized` in `inputs`.
"""

import hashlib

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.preference_pairs import pair
from app.formats.records import (
    CompletionsRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Row,
    Turn,
)

_PROMPT = "inputs_pretokenized"


def read_prompt(row: Row) -> list[PromptRecord | DemonstrationRecord]:
    """Read one prompt; with `output_text`, as in supervised tuning, it is a demonstration."""
    prompt = (Turn("user", fields.text(row, "input_text")),)
    response = fields.optional_text(row, "output_text")
    return [PromptRecord(prompt) if response is None else DemonstrationRecord(prompt, response)]


def read_preference(row: Row) -> list[PreferenceRecord]:
    """Read one preference; the candidates keep their order in the file."""
    choice = fields.whole(row, "choice")
    if choice not in (0, 1):
        raise Invalid(f"'choice' must be 0 or 1, not {choice}")
    return [
        PreferenceRecord(
            (Turn("user", fields.text(row, "input_text")),),
            (
                CompletionText(fields.text(row, "candidate_0")),
                CompletionText(fields.text(row, "candidate_1")),
            ),
            Ranking((1, 2) if choice == 0 else (2, 1)),
            margin=fields.optional_number(row, "margin"),
        )
    ]


def read_result(row: Row) -> list[CompletionsRecord]:
    """Read a model's completion of one prompt; it may be empty, because models do write those."""
    inputs = row.get("inputs")
    if isinstance(inputs, str):
        prompt = inputs
    else:
        prompt = fields.text(fields.inner(row, "inputs"), _PROMPT)
    completion = CompletionText(fields.text(row, "prediction"))
    return [CompletionsRecord((Turn("user", prompt),), (completion,))]


def write_result(prompt: str, prediction: str) -> Row:
    """Write a model's completion of one prompt."""
    return {"inputs": {_PROMPT: prompt}, "prediction": prediction}


def write_prompt(record: PromptRecord) -> Row:
    """Write one prompt."""
    return {"input_text": fields.as_text(record.messages)}


def write_preference(record: PreferenceRecord) -> Row:
    """Write one preference.

    A coin flip that depends only on the texts decides which one is candidate 0. Thus the numbering
    reveals nothing about the choice, is the same for all votes on a pair, and equal data gives
    equal bytes.
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
