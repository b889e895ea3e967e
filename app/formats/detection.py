"""Detects the format of a file by its first rows, and names what is missing if none fits."""

from collections.abc import Iterable, Sequence

from app.errors import Invalid
from app.formats.format import Format
from app.formats.records import Row

# A message names the closest format if this share of the fields it needs is present.
_NEAR = 0.5


def best(formats: Sequence[Format], rows: Sequence[Row], *, is_table: bool = False) -> Format:
    """Return the format that recognizes most of the rows.

    Raises Invalid if no format recognizes any; the message names what is missing.
    """
    chosen = max(formats, key=lambda known: sum(map(known.recognizes, rows)))
    if any(map(chosen.recognizes, rows)):
        return chosen
    columns = sorted({name for row in rows for name in row})
    if not columns:
        raise Invalid("no line could be read as JSON, and the first is not the header of a table")
    near = _nearly(formats, columns)
    if is_table:
        raise Invalid(
            f"the header needs a column `prompt` or a mapping; it has {', '.join(columns)}{near}"
            "; for prompts without a header, one per line, choose the format 'lines'"
        )
    raise Invalid(
        f"no known format has these fields: {', '.join(columns)}; "
        f"a row needs 'prompt', or a mapping that names the field that holds it{near}"
    )


def check_header(known: Format, columns: Sequence[str]) -> None:
    """Raise Invalid if the header lacks a column that every row of the format needs."""
    missing = known.required.missing(columns) if known.required else []
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing)
        noun = "a column" if len(missing) == 1 else "the columns"
        raise Invalid(f"the header needs {noun} {listed} or a mapping; it has {', '.join(columns)}")


def _nearly(formats: Iterable[Format], columns: Sequence[str]) -> str:
    """Describe the closest format and what it lacks, or return an empty string."""
    near: list[tuple[float, Format, list[str]]] = []
    for known in formats:
        needs = known.required
        if needs is not None and len(needs.groups) > 1:
            missing = needs.missing(columns)
            share = 1 - len(missing) / len(needs.groups)
            if missing and share >= _NEAR:
                near.append((share, known, missing))
    if not near:
        return ""
    _, known, missing = max(near, key=lambda item: item[0])
    return f"; for {known.title} it lacks {', '.join(map(repr, missing))}"
