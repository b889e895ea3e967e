"""The table of all import formats."""

from app.errors import Invalid
from app.formats import (
    arena,
    arena_55k,
    argilla,
    completions,
    csv_prompts,
    dialogsum,
    fields,
    helpsteer,
    hh,
    instructions,
    label_studio,
    label_studio_min,
    llama_factory,
    model_responses,
    mt_bench,
    open_assistant,
    open_assistant_rows,
    openai_preference,
    plain_lines,
    prompts,
    real_toxicity,
    response_pair,
    rich,
    rm_static,
    safe_rlhf,
    sharegpt,
    shp,
    summarize_feedback,
    trl,
    ultrafeedback,
    unpaired,
    vertex,
    webgpt,
)
from app.formats.format import Format

# More specific formats come first: an HH row is also a TRL row.
FORMATS: tuple[Format, ...] = (
    rich.FORMAT,
    helpsteer.HELPSTEER3,
    helpsteer.PREFERENCES,
    helpsteer.RATINGS,
    hh.FORMAT,
    rm_static.FORMAT,
    openai_preference.FORMAT,
    vertex.PREFERENCES,
    vertex.RESULTS,
    llama_factory.ALPACA,
    llama_factory.SHAREGPT,
    shp.FORMAT,
    ultrafeedback.FORMAT,
    summarize_feedback.FORMAT,
    arena_55k.FORMAT,
    arena.FORMAT,
    label_studio.FORMAT,
    label_studio_min.FORMAT,
    argilla.FORMAT,
    open_assistant.FORMAT,
    open_assistant_rows.FORMAT,
    webgpt.FORMAT,
    safe_rlhf.FORMAT,
    response_pair.FORMAT,
    trl.REWARD_BENCH,
    trl.PREFERENCES,
    unpaired.FORMAT,
    completions.FORMAT,
    model_responses.IN_COLUMNS,
    model_responses.IN_ROWS,
    mt_bench.FORMAT,
    real_toxicity.FORMAT,
    dialogsum.FORMAT,
    sharegpt.FORMAT,
    instructions.DOLLY,
    instructions.ALPACA,
    vertex.PROMPTS,
    prompts.FORMAT,
)
# In a table, the columns of prompts and responses have more names than elsewhere.
TABLE_FORMATS = (
    *(known for known in FORMATS if known not in (vertex.PROMPTS, prompts.FORMAT)),
    csv_prompts.FORMAT,
)
ALL_FORMATS = (*FORMATS, csv_prompts.FORMAT, plain_lines.FORMAT)
ARCHIVE = "zip"
FIELDS = frozenset(
    path.partition(".")[0] for known in (*FORMATS, csv_prompts.FORMAT) for path in known.fields
).union(fields.LABELS)
"""Every field that any format uses, and the labels of prompts, which all keep."""


def names() -> dict[str, str]:
    """Return the name of every format with a description of its contents."""
    known = {known.name: known.title for known in ALL_FORMATS}
    return {**known, ARCHIVE: "a zip archive, each file by its own format"}


def named(name: str) -> Format:
    """Return the format of this name. Raises Invalid if there is none."""
    for known in ALL_FORMATS:
        if known.name == name:
            return known
    if name == ARCHIVE:
        raise Invalid("the file is not a zip archive of several files")
    raise Invalid(f"there is no format {name!r}; the formats are {', '.join(names())}")
