"""Responses of several models to the same prompts, to be compared: in columns, or row by row.

A table with a column for each model is recognized if the columns are named for what they hold, such
as `response_gpt` and `response_llama`; with the format chosen, every column that is not the prompt
or a label of it is a model's, under the column's name. One response in a row, with the model beside
it, looks like a demonstration: it is read as a model's only with the format chosen.
"""

import re

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.judgment_words import PLACES
from app.formats.records import CompletionsRecord, CompletionText, Conversation, Row, Turn

COLUMNS, ROWS = "model-columns", "model-rows"
_PROMPTS = ("prompt", "instruction", "question", "input_text", "messages")
_ABOUT = frozenset({*_PROMPTS, "system", "id", "prompt_id", *fields.LABELS})
"""The columns that are no model's; the prompt's category and tags are kept by all formats."""
_NAMED = re.compile(r"(?:response|answer|completion|output)s?[ _:.-]+(\S.*)", re.IGNORECASE)
_RESPONSES = ("response", "output", "completion", "answer")
_MODELS = ("model", "source", "generator", "model_name")
MODELS = frozenset(_MODELS) - {"source"}
"""Columns that name who wrote a response; a source may be anything else."""
_FEWEST = 2


def in_columns(row: Row) -> bool:
    """Whether the row has a prompt and two or more columns named for a model's response."""
    return bool(row.keys() & set(_PROMPTS)) and len(_named(row)) >= _FEWEST


def read_columns(row: Row) -> list[CompletionsRecord]:
    """Read a prompt and the responses of models that the row has.

    An empty cell is no response. Raises Invalid if there are fewer than two.
    """
    columns = _columns(row)
    texts = {
        name: fields.text(row, column)
        for column, name in columns.items()
        if row.get(column) is not None
    }
    if len(texts) < _FEWEST:
        raise Invalid(
            f"a row needs the responses of at least {_FEWEST} models in columns of their own, not "
            f"{len(texts)}"
        )
    completions = tuple(CompletionText(text, name) for name, text in texts.items())
    notes = fields.rest(row, {*_ABOUT, *columns})
    return [CompletionsRecord(_prompt(row), completions, _name(row), notes)]


def read_row(row: Row) -> list[CompletionsRecord]:
    """Read one model's response to a prompt."""
    model = fields.identifier(row, *_MODELS)
    if model is None:
        raise Invalid(f"the row has no model: one of {', '.join(_MODELS)}")
    column = next((name for name in _RESPONSES if row.get(name) is not None), _RESPONSES[0])
    known = {*_ABOUT, *_RESPONSES, *_MODELS}
    completion = CompletionText(fields.text(row, column), model)
    return [CompletionsRecord(_prompt(row), (completion,), _name(row), fields.rest(row, known))]


def _columns(row: Row) -> dict[str, str]:
    """Return the columns with a model's responses, and the model's name in each."""
    if named := _named(row):
        return named
    return {name: name for name in row if name not in _ABOUT}


def _named(row: Row) -> dict[str, str]:
    found = {name: match.group(1) for name in row if (match := _NAMED.fullmatch(name))}
    # Two responses called a and b, or 1 and 2, are those of a comparison, not two models.
    return {} if all(name.lower() in PLACES for name in found.values()) else found


def _used(row: Row) -> tuple[str, ...]:
    return tuple(_columns(row))


def _prompt(row: Row) -> Conversation:
    turns = fields.prompt(row, *_PROMPTS)
    system = fields.optional_text(row, "system")
    return turns if system is None else (Turn("system", system), *turns)


def _name(row: Row) -> str | None:
    return fields.identifier(row, "id", "prompt_id")


IN_COLUMNS = Format(
    COLUMNS,
    "a prompt and a column of responses for each model",
    in_columns,
    read_columns,
    fields=(*_PROMPTS, "system", "id", "prompt_id"),
    keeps_notes=True,
    also=_used,
    needs=has(_PROMPTS),
)
IN_ROWS = Format(
    ROWS,
    "a prompt, a model and its response in each row",
    lambda _row: False,
    read_row,
    fields=(*_PROMPTS, *_MODELS, *_RESPONSES, "system", "id", "prompt_id"),
    keeps_notes=True,
    needs=has(_PROMPTS, _MODELS, _RESPONSES),
)
