"""What the names of the files in an archive say: the split of their prompts, and their source."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.domain.splits import Split

SOURCE_REMARK: Final = (
    "The name of each file in the archive is the source of its prompts, and of responses that name "
    "none."
)
_WORDS: Final[Mapping[str, Split]] = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), Split.VALIDATION),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}
_BREAKS = re.compile(r"[\W_\d]+|(?<=[a-z])(?=[A-Z])")
_LISTED = 6  # names of files


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """Where a record comes from, if that is one of several files in an archive.

    `member` is the file's name, and `member_split` the split that it sets. Neither is in the repr,
    by which files that were imported before are known: see `unnamed_votes`.
    """

    member: str | None = field(default=None, repr=False, compare=False)
    member_split: Split | None = field(default=None, repr=False, compare=False)

    def file_under(self, member: str, split: Split | None) -> None:
        """Note the file; a copy would be checked all over again, for every row of it."""
        object.__setattr__(self, "member", member)
        object.__setattr__(self, "member_split", split)


@dataclass(frozen=True, slots=True)
class MemberSplits:
    """The split of each file by its name in the archive, if it is used, and a sentence on it."""

    by_name: Mapping[str, Split] = field(default_factory=dict)
    remark: str = ""


def split_of(name: str) -> Split | None:
    """Return the split that a path says; a file's own name comes before those of its folders.

    A name that says several says none, and its folders are not asked.
    """
    for part in reversed(name.split("/")):
        words = {word.lower() for word in _BREAKS.split(part)}
        found = {_WORDS[word] for word in words & _WORDS.keys()}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def splits(names: Sequence[str], choice: bool | None) -> MemberSplits:
    """Decide whether the names of an archive's files set the splits.

    Without a choice they do if they say two splits or more: an archive of training data alone would
    leave nothing to evaluate on.
    """
    said = {name: split for name in names if (split := split_of(name)) is not None}
    if not said:
        missing = (
            "No name of a file in the archive says train, validation or test, so prompts are split "
            "by their content."
        )
        return MemberSplits({}, missing * bool(choice))
    if choice is False:
        return MemberSplits({}, f"Prompts are split by their content, though {_listed(said)}.")
    if choice is None and len(set(said.values())) < 2:
        return MemberSplits(
            {},
            f"{_listed(said)}, and no file another split, so prompts are split by their content. "
            "To put all of its prompts there, choose that the names of files set the split.",
        )
    rest = len(names) - len(said)
    noun = "1 file that says" if rest == 1 else f"{rest} files that say"
    others = f" The prompts of {noun} no split are split by their content." * bool(rest)
    return MemberSplits(
        said, f"The names of the files in the archive set the split: {_listed(said)}.{others}"
    )


def _listed(said: Mapping[str, Split]) -> str:
    parts = [f"{name} says {split}" for name, split in list(said.items())[:_LISTED]]
    more = len(said) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more else "")
