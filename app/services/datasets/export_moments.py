"""Reads the moment that an incremental export starts from, as people write it."""

from datetime import UTC, datetime

from app.errors import Invalid

_DIGITS_MOST = 9  # of the number of an export


def parse(value: object) -> tuple[datetime | None, int | None]:
    """Read a moment, or the number of an earlier export; nothing means no limit.

    A time without a zone is UTC.

    Raises:
        Invalid: it is neither.
    """
    if value is None or value == "":
        return None, None
    text = str(value).strip()
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MOST:
        return None, int(text)
    try:
        moment = datetime.fromisoformat("" if text.isdigit() else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC), None
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"since is a time, such as 2026-11-20T12:00Z, or an export's number, not {text!r}"
        ) from error


def number(value: object) -> int | None:
    """Read the number of an earlier export.

    Raises:
        Invalid: it is no such number.
    """
    if value is None:
        return None
    moment, parsed = parse(value)
    if moment is not None or parsed is None:
        raise Invalid(f"since_export is an export's number, not {value!r}")
    return parsed
