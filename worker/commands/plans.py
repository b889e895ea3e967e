"""Settings from the command line: options and `--set name=value`, merged into a round's plan."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from app.domain.plan import RoundPlan
from app.errors import Invalid

Values = dict[str, Any]

WHOLE = frozenset({"seed", "four_bit", "checkpoints_gradients", "token_budget", "parallel"})
"""Plain names that belong to the plan itself, not to a section."""


def plan_of(section: str, given: Mapping[str, Any], settings: Sequence[str]) -> RoundPlan:
    """Return a plan with the given settings, and a job's defaults for the rest.

    Args:
        section: of the plan that plain names belong to: sft, reward or policy.
        given: settings by name, None if not set; a dotted name belongs to another section.
        settings: `name=value`, of the section or dotted; they take precedence over `given`.

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
    if len(path) == 1 or path[0] not in {field.name for field in fields(RoundPlan)}:
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
