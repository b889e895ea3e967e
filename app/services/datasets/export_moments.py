"""Reads the moment that an incremental export starts from, as people write it."""

from datetime import UTC, datetime

from app.errors import Invalid


def parse(value: object) -> tuple[datetime | None, int | None]:
    """Read a moment, or the number of an earlier export; nothing means no limit.

    A time without a zone is UTC.

    Raises:
        Invalid: it is neither.
    """
    if value is None or value == "":
        return None, None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC), None
    text = str(value).strip()
    if text.isascii() and text.isdigit():
        return None, int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            f"since is a time, such as 2026-11-20T12:00Z, or an export's number, not {text!r}"
        ) from error
    return parse(moment)
