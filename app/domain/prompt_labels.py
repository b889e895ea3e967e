"""Categories and tags of prompts: what is valid, and how the notes of an imported row name them.

A prompt has at most one category, which usually comes with its data set, and any number of tags,
which leads choose freely. Storing them is left to callers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.errors import Invalid

CATEGORY_LONGEST = 120
TAG_LONGEST = 60
CATEGORY_KEYS = ("category", "subset", "domain")
"""The notes that name a category, the first one that is present counts: most data sets say
`category`, RewardBench says `subset`, HelpSteer3 and SHP say `domain`."""
TAGS_KEY = "tags"


@dataclass(frozen=True, slots=True)
class PromptLabels:
    """The category and tags in the notes of a row; `refused` counts those that are too long."""

    category: str = ""
    tags: tuple[str, ...] = ()
    refused: int = 0


NONE = PromptLabels()


def category(text: str) -> str:
    """Return a category without surrounding whitespace; empty means none.

    Raises:
        Invalid: it is too long or has several lines.
    """
    return _checked(text, "a category", CATEGORY_LONGEST)


def tag(text: str) -> str:
    """Return a tag without surrounding whitespace.

    Raises:
        Invalid: it is empty, too long, has several lines, or has a comma, which separates tags.
    """
    checked = _checked(text, "a tag", TAG_LONGEST)
    if not checked:
        raise Invalid("a tag needs at least one character")
    if "," in checked:
        raise Invalid(f"a tag has no comma, because a comma separates tags: {checked!r}")
    return checked


def of_notes(notes: Mapping[str, object]) -> PromptLabels:
    """Return the labels that the notes of a row name.

    Tags are a list of texts, or a text with commas between them.
    """
    if not notes:
        return NONE
    named = next((text for key in CATEGORY_KEYS if (text := _text(notes.get(key)))), "")
    given = notes.get(TAGS_KEY)
    if not named and given is None:
        return NONE
    fits = len(named) <= CATEGORY_LONGEST
    tags = list(dict.fromkeys(_tags(given)))
    kept = tuple(one for one in tags if len(one) <= TAG_LONGEST)
    return PromptLabels(named if fits else "", kept, len(tags) - len(kept) + (not fits))


def _tags(value: object) -> Iterable[str]:
    parts = value if isinstance(value, list | tuple) else [value]
    for part in parts:
        if isinstance(part, str):
            yield from filter(None, map(_text, part.split(",")))


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _checked(text: str, what: str, longest: int) -> str:
    stripped = text.strip()
    if len(stripped) > longest:
        raise Invalid(f"{what} has at most {longest} characters, not {len(stripped)}")
    if not stripped.isprintable():
        raise Invalid(f"{what} is one line of printable characters, not {stripped!r}")
    return stripped
