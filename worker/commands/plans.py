"""Settings from the command line: options and `--set name=value`, put into a round's plan."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from app.domain.plan import RoundPlan
from app.errors import Invalid

Values = dict[str, Any]

WHOLE = frozenset({"seed", "four_bit", "checkpoints_gradients"})
"""Plain names that are the plan's own and no section's."""


def plan_of(section: str, given: Mapping[str, Any], settings: Sequence[str]) -> RoundPlan:
    """Return a plan with the settings given, the rest at what a job has.

    Args:
        section: of the plan that plain names belong to: sft, reward or policy.
        given: settings by name, those that are None left out; a dotted name is another section's.
        settings: `name=value`, of the section or dotted; they go before `given`.

    Raises:
        Invalid: an unknown name, or a value that breaks a rule.

    """
    data: Values = {}
    for name, value in given.items():
        if value is not None:
            _put(data, section, name, value)
    for text in settings:
        name, sep, value = text.partition("=")
        if not sep or not name:
            raise Invalid(f"a setting is name=value, not {text!r}")
        _put(data, section, name.strip().replace("-", "_"), _value(value.strip()))
    return RoundPlan.from_json(data)


def _put(data: Values, section: str, name: str, value: object) -> None:
    path = name.split(".")
    if len(path) == 1 or path[0] not in {one.name for one in fields(RoundPlan)}:
        path = [section, *path] if name not in WHOLE else path
    place = data
    for part in path[:-1]:
        place = place.setdefault(part, {})
    place[path[-1]] = value


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
