"""Secrets that are given as files, as containers get them, instead of in the environment."""

from pathlib import Path

from app.errors import Invalid


def read(name: str, path: Path) -> str:
    """Return the text of a file without the white space around it.

    Args:
        name: the setting that names the file, for messages.
        path: the file.

    Raises:
        Invalid: the file cannot be read, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Invalid(f"{name}: {path} cannot be read: {reason}") from error
    if not text:
        raise Invalid(f"{name}: {path} is empty")
    return text
