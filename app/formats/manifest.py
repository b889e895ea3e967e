"""The manifest of an export: how it was made, what was excluded and why, and a data-set card.

Nothing in it depends on when or where it was written, so equal data has equal manifests.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from app.errors import Invalid


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of one export.

    Of the ``considered`` rows, each is counted in ``written`` or, under its reason, in
    ``excluded``. The hash is of the rows as written, before compression. ``instructions`` has the
    text of each version of the project's instruction that labelers judged under; "0" stands for
    judgments from files, made under none. ``divided_by_instruction`` counts the comparisons that
    were judged under several of them, and make rows under each.
    """

    title: str
    format: str
    filter: Mapping[str, str | int | float | bool | None]
    considered: int
    written: int
    excluded: Mapping[str, int]
    size_bytes: int
    content_sha256: str
    guidelines_versions: Sequence[int] = ()
    checkpoints: Sequence[str] = ()
    licence: str | None = None
    instructions: Mapping[str, str] = field(default_factory=dict)
    divided_by_instruction: int = 0

    def __post_init__(self) -> None:
        accounted = self.written + sum(self.excluded.values())
        if self.considered != accounted:
            raise Invalid(f"{accounted} of {self.considered} rows are accounted for")

    @property
    def summary(self) -> str:
        """A sentence on what the export contains; it explains an empty file too."""
        if not self.considered:
            return "0 rows: nothing matched the filter."
        if not self.excluded:
            return f"All {self.written} rows are in the export."
        reasons = "; ".join(f"{count} {reason}" for reason, count in _by_count(self.excluded))
        return f"{self.written} of {self.considered} rows are in the export. Excluded: {reasons}."

    def encode(self) -> bytes:
        """Return the manifest as indented JSON."""
        values = {**asdict(self), "excluded": dict(_by_count(self.excluded))}
        return (json.dumps(values, ensure_ascii=False, indent=2) + "\n").encode()

    def card(self) -> str:
        """Return a short data-set card in Markdown."""
        lines = [f"# {_plain(self.title)}", "", self.summary, "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self._facts()]
        lines += ["", "## Instruction", "", *self._instructions()]
        lines += ["", "## Filter", "", *_bullets(self.filter.items(), "no filter")]
        lines += ["", "## Excluded", "", *_bullets(_by_count(self.excluded), "nothing")]
        return "\n".join(lines) + "\n"

    def _instructions(self) -> list[str]:
        named = [
            f"- Version {version}: {_plain(text) or 'no instruction'}"
            if version != "0"
            else "- Judgments from files: no instruction of this project"
            for version, text in self.instructions.items()
        ]
        if self.divided_by_instruction:
            named += [
                "",
                f"{self.divided_by_instruction} comparisons were judged under several versions; "
                "each version has its own rows.",
            ]
        return named or ["No version is recorded."]

    def _facts(self) -> list[tuple[str, str]]:
        versions = ", ".join(map(str, self.guidelines_versions)) or "none"
        return [
            ("Format", self.format),
            ("Rows", str(self.written)),
            ("Size", f"{self.size_bytes} bytes"),
            ("SHA-256", f"`{self.content_sha256}`"),
            ("Guideline versions", versions),
            ("Completions written by", ", ".join(self.checkpoints) or "not recorded"),
            ("License", self.licence or "not stated"),
        ]


@dataclass(slots=True)
class ExportTally:
    """Counts and hashes the rows of an export while it streams."""

    excluded: Counter[str] = field(default_factory=Counter)
    written: int = 0
    size_bytes: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def exclude(self, reason: str, rows: int = 1) -> None:
        """Count rows that are excluded for a reason."""
        self.excluded[reason] += rows

    def counted(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Pass rows on, counting and hashing each."""
        for data in rows:
            self.written += 1
            self.size_bytes += len(data)
            self._hash.update(data)
            yield data

    def manifest(
        self,
        title: str,
        format: str,
        filter: Mapping[str, str | int | float | bool | None],
        *,
        guidelines_versions: Iterable[int] = (),
        checkpoints: Iterable[str] = (),
        licence: str | None = None,
        instructions: Mapping[int, str] | None = None,
        divided_by_instruction: int = 0,
    ) -> Manifest:
        """Return the manifest of what was counted."""
        return Manifest(
            title=title,
            format=format,
            filter=dict(sorted(filter.items())),
            considered=self.written + self.excluded.total(),
            written=self.written,
            excluded=dict(self.excluded),
            size_bytes=self.size_bytes,
            content_sha256=self._hash.hexdigest(),
            guidelines_versions=sorted(set(guidelines_versions)),
            checkpoints=sorted(set(checkpoints)),
            licence=licence,
            instructions={str(key): text for key, text in sorted((instructions or {}).items())},
            divided_by_instruction=divided_by_instruction,
        )


def _by_count(excluded: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(excluded.items(), key=lambda item: (-item[1], item[0]))


def _bullets(items: Iterable[tuple[str, object]], nothing: str) -> list[str]:
    return [f"- {_plain(name)}: {_plain(str(value))}" for name, value in items] or [nothing]


def _plain(text: str) -> str:
    """Keep a title or a name on one line."""
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
