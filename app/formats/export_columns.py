"""The columns of every export format with their types, for files that must declare them.

A Parquet file and a data-set card state the types of their columns, and a table in text has only
cells. Values are the JSON values of a row; what a type becomes is up to `parquet_file`,
`csv_file` and `data_card`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.errors import Invalid
from app.formats.records import Row


class Plain(StrEnum):
    """The type of a single value."""

    TEXT = "text"
    WHOLE = "whole number"
    NUMBER = "number"
    TRUTH = "truth value"


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    of: "Type"


@dataclass(frozen=True, slots=True)
class Struct:
    """An object with known fields; a field without a value is null."""

    fields: Mapping[str, "Type"]


@dataclass(frozen=True, slots=True)
class Entries:
    """An object with free keys, stored as a list of objects of a key and a value."""

    key: str
    value: str
    of: "Type"

    @property
    def stored(self) -> Many:
        """The type of the list."""
        return Many(Struct({self.key: Plain.TEXT, self.value: self.of}))


Type = Plain | Many | Struct | Entries
Columns = Mapping[str, Type]

_T, _N = Plain.TEXT, Plain.WHOLE
_MESSAGES = Many(Struct({"role": _T, "content": _T}))
_TURN = Struct({"from": _T, "value": _T})
_VOTE = Struct(
    {
        "labeler": _T,
        "ranking": Many(_N),
        "strength": _N,
        "both_bad": Plain.TRUTH,
        "flags": Many(_T),
        "comment": _T,
        "shown_order": Many(_N),
        "guidelines_version": _N,
        "started_at": _T,
        "submitted_at": _T,
        "active_ms": _N,
        "ratings": Entries("criterion", "ratings", Many(_N)),
        "thumb": _T,
        "reasons": Many(_T),
        "text": _T,
        "margin": Plain.NUMBER,
    }
)

COLUMNS: Mapping[str, Columns] = {
    "trl-implicit": {"chosen": _MESSAGES, "rejected": _MESSAGES, "margin": Plain.NUMBER},
    "trl-explicit": {
        "prompt": _MESSAGES,
        "chosen": _MESSAGES,
        "rejected": _MESSAGES,
        "margin": Plain.NUMBER,
    },
    "trl-implicit-text": {"chosen": _T, "rejected": _T, "margin": Plain.NUMBER},
    "trl-explicit-text": {"prompt": _T, "chosen": _T, "rejected": _T, "margin": Plain.NUMBER},
    "vertex-rlhf": {"input_text": _T, "candidate_0": _T, "candidate_1": _T, "choice": _N},
    "hh": {"chosen": _T, "rejected": _T},
    "openai-preference": {
        "input": Struct(
            {"messages": _MESSAGES, "tools": Many(_T), "parallel_tool_calls": Plain.TRUTH}
        ),
        "preferred_output": _MESSAGES,
        "non_preferred_output": _MESSAGES,
    },
    "llama-factory-alpaca": {
        "system": _T,
        "instruction": _T,
        "input": _T,
        "chosen": _T,
        "rejected": _T,
    },
    "llama-factory-sharegpt": {
        "system": _T,
        "conversations": Many(_TURN),
        "chosen": _TURN,
        "rejected": _TURN,
    },
    "unpaired": {"prompt": _MESSAGES, "completion": _MESSAGES, "label": Plain.TRUTH},
    "demonstrations": {"messages": _MESSAGES},
    "demonstrations-text": {"prompt": _T, "completion": _T},
    "rich": {
        "comparison": _T,
        "purpose": _T,
        "split": _T,
        "round": _N,
        "kind": _T,
        "weights": Entries("criterion", "weight", Plain.NUMBER),
        "settled": Many(_N),
        "context": _MESSAGES,
        "completions": Many(Struct({"source": _T, "text": _T, "earlier": _MESSAGES})),
        "individual_preference": Many(_VOTE),
    },
}
"""The columns of each format, in order. Training rows are absent: their lists mix types."""


def present(format: str, names: Mapping[str, object]) -> dict[str, Type]:
    """Return the columns of a file whose rows have these top-level fields, each with a value.

    Fields that the format does not list follow, with the type of their value.

    Raises:
        Invalid: such a field holds a list or an object.
    """
    columns = {name: kind for name, kind in COLUMNS[format].items() if name in names}
    return columns | {
        name: _type_of(name, value) for name, value in names.items() if name not in columns
    }


def fit(value: object, kind: Type, name: str) -> object:
    """Return a JSON value in the form of its type: missing fields are null, entries are a list.

    Raises:
        Invalid: an object has a field that its type does not list, so it would be lost.
    """
    if value is None:
        return None
    if isinstance(kind, Many) and isinstance(value, list):
        return [fit(item, kind.of, name) for item in value]
    if isinstance(kind, Entries) and isinstance(value, dict):
        return [{kind.key: key, kind.value: item} for key, item in value.items()]
    if isinstance(kind, Struct) and isinstance(value, dict):
        unknown = value.keys() - kind.fields.keys()
        if unknown:
            raise Invalid(f"column {name!r} has no place for the field {min(unknown)!r}")
        return {key: fit(value.get(key), of, f"{name}.{key}") for key, of in kind.fields.items()}
    return value


def has_entries(kind: Type) -> bool:
    """Whether a type has objects with free keys, whose stored form differs from the row's."""
    if isinstance(kind, Many):
        return has_entries(kind.of)
    if isinstance(kind, Struct):
        return any(map(has_entries, kind.fields.values()))
    return isinstance(kind, Entries)


def fitted(row: Row, columns: Columns) -> dict[str, object]:
    """Return a row in the form of its columns."""
    return {name: fit(row.get(name), kind, name) for name, kind in columns.items()}


def _type_of(name: str, value: object) -> Plain:
    kinds = ((bool, Plain.TRUTH), (int, Plain.WHOLE), (float, Plain.NUMBER), (str, Plain.TEXT))
    for python_type, kind in kinds:
        if isinstance(value, python_type):
            return kind
    if value is None:
        return Plain.TEXT
    raise Invalid(f"the column {name!r} has no declared type")
