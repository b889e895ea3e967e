"""`--reward-part` and the combination of rewards, as settings of a plan."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from app.domain.reward_parts import PartKind, RewardPart
from app.errors import Invalid

NUMBERS: Final = frozenset({"weight", "shortest", "longest", "at_least"})
SWITCHES: Final = {"true": True, "false": False}


def parts_of(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the parts written as `kind:setting=value,setting=value`.

    A comma in a value is written twice. A rubric that begins with @ is the name of a file.

    Raises:
        Invalid: a part cannot be read; the message quotes it.
    """
    return [_part(text) for text in texts]


def _part(text: str) -> dict[str, Any]:
    kind, _, rest = text.partition(":")
    if kind not in list(PartKind):
        raise Invalid(
            f"a reward begins with its kind ({', '.join(PartKind)}) and a colon, not {text!r}"
        )
    known = {field.name for field in fields(RewardPart)} - {"kind"}
    part: dict[str, Any] = {"kind": kind}
    for setting in _split(rest):
        name, sep, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not sep or name not in known:
            listed = ", ".join(sorted(known))
            raise Invalid(f"{setting!r} in {text!r} is no setting=value; the settings are {listed}")
        part[name] = _value(name, value.strip(), text)
    return part


def _split(text: str) -> list[str]:
    placeholder = "\x00"
    pieces = text.replace(",,", placeholder).split(",")
    return [piece.replace(placeholder, ",") for piece in pieces if piece.strip()]


def _value(name: str, value: str, text: str) -> object:
    if name == "reads_prompt":
        if value not in SWITCHES:
            raise Invalid(f"reads_prompt in {text!r} must be true or false, not {value!r}")
        return SWITCHES[value]
    if name == "rubric" and value.startswith("@"):
        return _contents(Path(value[1:]))
    if name not in NUMBERS:
        return value
    try:
        number = float(value)
    except ValueError as error:
        raise Invalid(f"{name} in {text!r} must be a number, not {value!r}") from error
    return int(number) if name in ("shortest", "longest") else number


def _contents(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"the rubric {path} cannot be read: {error}") from error
