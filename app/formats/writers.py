"""The formats that go out, by name: a record to a row. Bytes are left to `jsonl`."""

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
_WITH_MARGIN: dict[str, Callable[..., Row]] = {
    "trl-explicit": trl.write_explicit,
    "trl-implicit": trl.write_implicit,
    "trl-explicit-text": trl.write_explicit_text,
    "trl-implicit-text": trl.write_implicit_text,
}


def preference(name: str, *, margin: bool = False) -> Write:
    """Return the writer of a preference format.

    The writer raises Invalid for what the format cannot carry (a tie, a conversation where there is
    room for a text): the reason an exporter gives for leaving the row out.

    Raises:
        Invalid: Nothing is called ``name``, or it has no room for a margin.
    """
    if name not in PREFERENCES:
        raise Invalid(f"there is no preference format {name!r}; there are {', '.join(PREFERENCES)}")
    if not margin:
        return PREFERENCES[name]
    if name not in _WITH_MARGIN:
        raise Invalid(f"format {name!r} has no margin; {', '.join(_WITH_MARGIN)} have")
    return partial(_WITH_MARGIN[name], margin=True)
