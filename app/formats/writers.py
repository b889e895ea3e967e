"""The export formats by name: functions from a record to a row. Bytes are left to `jsonl`."""

from collections.abc import Callable
from functools import partial

from app.errors import Invalid
from app.formats import hh, llama_factory, openai_preference, trl, vertex
from app.formats.records import PreferenceRecord, Row

Write = Callable[[PreferenceRecord], Row]

PREFERENCES: dict[str, Write] = {
    "trl-explicit": trl.write_explicit,
    "trl-implicit": trl.write_implicit,
    "trl-explicit-text": trl.write_explicit_text,
    "trl-implicit-text": trl.write_implicit_text,
    "hh": hh.write,
    "vertex-rlhf": vertex.write_preference,
    "openai-preference": openai_preference.write,
    "llama-factory-alpaca": llama_factory.write_alpaca,
    "llama-factory-sharegpt": llama_factory.write_sharegpt,
}
WITH_MARGIN: dict[str, Callable[..., Row]] = {
    "trl-explicit": trl.write_explicit,
    "trl-implicit": trl.write_implicit,
    "trl-explicit-text": trl.write_explicit_text,
    "trl-implicit-text": trl.write_implicit_text,
}


def preference(name: str, *, margin: bool = False) -> Write:
    """Return the writer of a preference format.

    The writer raises Invalid for a record that the format cannot express (a tie, or a conversation
    in a text format); exports report the message as the reason for excluding the row.

    Raises:
        Invalid: No format is called ``name``, or the format has no margin.
    """
    if name not in PREFERENCES:
        raise Invalid(
            f"there is no preference format {name!r}; the formats are {', '.join(PREFERENCES)}"
        )
    if not margin:
        return PREFERENCES[name]
    if name not in WITH_MARGIN:
        raise Invalid(
            f"format {name!r} has no margin; the formats with one are {', '.join(WITH_MARGIN)}"
        )
    return partial(WITH_MARGIN[name], margin=True)
