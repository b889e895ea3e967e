"""Reads JSON values into typed dataclasses; unknown names and wrong types are errors."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from app.errors import Invalid


def read(kind: Any, value: object, name: str) -> Any:
    """Read one value as its declared type.

    Raises:
        Invalid: an unknown name, a value of the wrong type, or one that breaks a rule.
    """
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind)[0], value, name)
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise Invalid(f"{name} must be an object, not {value!r}")
        return dict(value)
    if is_dataclass(kind):
        return _read_dataclass(kind, value, name)
    if issubclass(kind, StrEnum):
        if value not in list(kind):
            raise Invalid(f"{name} must be one of {', '.join(kind)}, not {value!r}")
        return kind(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Invalid(f"{name} must be a value of type {kind.__name__}, not {value!r}")
    return value


def _read_tuple(kind: Any, value: object, name: str) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise Invalid(f"{name} must be a list, not {value!r}")
    return tuple(read(kind, item, f"{name} {n}") for n, item in enumerate(value, start=1))


def _read_dataclass(kind: Any, value: object, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise Invalid(f"{name} must be an object, not {value!r}")
    known = {setting.name for setting in fields(kind)}
    for key in value:
        if key not in known:
            raise Invalid(
                f"{name} has no setting {key!r}; the settings are {', '.join(sorted(known))}"
            )
    for setting in fields(kind):
        is_required = setting.default is MISSING and setting.default_factory is MISSING
        if is_required and setting.name not in value:
            raise Invalid(f"{name} needs {setting.name!r}")
    hints = get_type_hints(kind)
    return kind(**{key: read(hints[key], item, f"{name} {key}") for key, item in value.items()})
