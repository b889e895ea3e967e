"""docs/settings.md names every setting with its default, and no other."""

import re
from pathlib import Path
from typing import Any

from app.settings import PREFIX, Settings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
ROW = re.compile(rf"^\| `{PREFIX}(\w+)` \| ([^|]+) \|", re.MULTILINE)


def shown(default: Any) -> str:
    if default is None:
        return "none"
    return "empty" if default == "" else f"`{default}`"


def test_every_setting_is_documented_with_its_default() -> None:
    settings = {name.upper(): shown(field.default) for name, field in Settings.model_fields.items()}
    assert dict(ROW.findall(DOCUMENT)) == settings
