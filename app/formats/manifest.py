"""The manifest of an export: how it was made, what was excluded and why, and a data-set card.

Nothing in it depends on when or where it was written, so equal data has equal manifests.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import Invalid

OPTION_TITLES: Mapping[str, str] = {
    "aggregate": "Several votes on a pair",
    "ties": "Ties",
    "min_agreement": "Minimum agreement",
    "judged_by": "Judged by",
    "rounds": "Rounds",
    "purposes": "Purposes",
    "splits": "Splits",
    "include_adjudicated": "Include settled comparisons",
    "categories": "Categories",
    "tags": "Tags",
    "instruction": "Instruction",
    "since": "Since",
    "since_export": "Since export",
    "container": "File",
    "license": "License",
}
"""The words for the options of an export: on the page, in errors and on the card."""


@dataclass(slots=True)
class UnitCount:
    """How many of one unit were considered; each was exported, or excluded for one reason."""

    considered: int = 0
    exported: int = 0
    excluded: Counter[str] = field(default_factory=Counter)

    def exclude(self, reason: str, count: int = 1) -> None:
        """Count what was considered before and is excluded."""
        if count:
            self.excluded[reason] += count

    def skip(self, reason: str, count: int = 1) -> None:
        """Count what is considered and excluded at once."""
        self.considered += count
        self.exclude(reason, count)

    def add(self, other: "UnitCount") -> None:
        """Add what was counted apart."""
        self.considered += other.considered
        self.exported += other.exported
        self.excluded.update(other.excluded)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON values, the most frequent reason first."""
        return {
            "considered": self.considered,
            "exported": self.exported,
            "excluded": dict(by_count(self.excluded)),
        }


@dataclass(slots=True)
class Counts:
    """The account of an export.

    Comparisons and judgments are those of the whole project; a judgment is the current revision of
    what a labeler said. Pairs are what the comparisons of a format of pairs imply: of each
    comparison, or of each vote where each makes rows of its own. Demonstrations are the imported
    ones. `settled` counts the exported comparisons that follow a settlement, not the votes.
    """

    comparisons: UnitCount = field(default_factory=UnitCount)
    judgments: UnitCount = field(default_factory=UnitCount)
    pairs: UnitCount = field(default_factory=UnitCount)
    demonstrations: UnitCount = field(default_factory=UnitCount)
    settled: int = 0

    def units(self) -> dict[str, UnitCount]:
        """Return the units: comparisons and judgments always, the others if there are any."""
        always = {"comparisons": self.comparisons, "judgments": self.judgments}
        others = {"pairs": self.pairs, "demonstrations": self.demonstrations}
        return always | {name: unit for name, unit in others.items() if unit.considered}

    def add(self, other: "Counts") -> None:
        """Add what was counted apart."""
        self.comparisons.add(other.comparisons)
        self.judgments.add(other.judgments)
        self.pairs.add(other.pairs)
        self.demonstrations.add(other.demonstrations)
        self.settled += other.settled

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON values."""
        units = {name: unit.to_json() for name, unit in self.units().items()}
        return {**units, "settled": self.settled}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of one export.

    `written` counts rows. `counts` accounts for each comparison, judgment, pair and imported
    demonstration that was considered: it was exported, or it is counted under its reason. The hash
    is of the rows as lines of JSON, whatever file holds them; `file` is that file, with its own.

    `instructions` has the text of each version of the project's instruction that labelers judged
    under; "0" stands for judgments from files, made under none. `divided_by_instruction` counts the
    comparisons that were judged under several of them, and make rows under each.
    """

    title: str
    format: str
    filter: Mapping[str, str | int | float | bool | None]
    written: int
    counts: Counts
    size_bytes: int
    content_sha256: str
    guidelines_versions: Sequence[int] = ()
    checkpoints: Sequence[str] = ()
    licence: str | None = None
    file: Mapping[str, str | int] | None = None
    instructions: Mapping[str, str] = field(default_factory=dict)
    divided_by_instruction: int = 0

    def __post_init__(self) -> None:
        for name, unit in self.counts.units().items():
            accounted = unit.exported + sum(unit.excluded.values())
            if unit.considered != accounted:
                raise Invalid(f"{accounted} of {unit.considered} {name} are accounted for")

    @property
    def summary(self) -> str:
        """What the export contains, in two sentences; they explain an empty file too."""
        units = {
            name: unit
            for name, unit in self.counts.units().items()
            if name in ("comparisons", "demonstrations")
        }
        if not any(unit.considered for unit in units.values()):
            return "0 rows: the project has no comparisons."
        parts = [
            f"{unit.exported} of {unit.considered} {_plural(name)}"
            for name, unit in units.items()
            if unit.considered
        ]
        reasons = [
            f"{count} {_plural(name, count)}: {reason}"
            for name, unit in units.items()
            for reason, count in by_count(unit.excluded)
        ]
        rows = "1 row" if self.written == 1 else f"{self.written} rows"
        start = f"{rows} from {' and '.join(parts)}."
        return f"{start} Excluded: {'; '.join(reasons)}." if reasons else start

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"filter": dict(self.filter), "counts": self.counts.to_json()}

    def encode(self) -> bytes:
        """Return the manifest as indented JSON."""
        return (json.dumps(self.to_json(), ensure_ascii=False, indent=2) + "\n").encode()

    def card(self) -> str:
        """Return a short data-set card in Markdown."""
        lines = [f"# {_plain(self.title)}", "", self.summary, "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self._facts()]
        lines += ["", "## Instruction", "", *self._instructions()]
        options = ((OPTION_TITLES.get(name, name), value) for name, value in self.filter.items())
        lines += ["", "## Filter", "", *_bullets(options, "no filter")]
        lines += ["", "## Counts", "", "| | Considered | Exported | Excluded |"]
        lines += ["| --- | ---: | ---: | ---: |"]
        for name, unit in self.counts.units().items():
            excluded = sum(unit.excluded.values())
            row = f"{_plural(name)} | {unit.considered} | {unit.exported} | {excluded}"
            lines.append(f"| {row[0].upper()}{row[1:]} |")
        excluded_by_reason = (
            (f"{count} {_plural(name, count)}", reason)
            for name, unit in self.counts.units().items()
            for reason, count in by_count(unit.excluded)
        )
        lines += ["", "## Excluded", "", *_bullets(excluded_by_reason, "nothing")]
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
        file = self.file or {}
        return [
            ("Format", self.format),
            ("Rows", str(self.written)),
            ("Comparisons that follow a settlement", str(self.counts.settled)),
            ("Size of the rows", f"{self.size_bytes} bytes"),
            ("SHA-256 of the rows", f"`{self.content_sha256}`"),
            *((f"File {name}", f"{value}") for name, value in file.items()),
            ("Guideline versions", versions),
            ("Completions written by", ", ".join(self.checkpoints) or "not recorded"),
            ("License", self.licence or "not stated"),
        ]


@dataclass(slots=True)
class ExportTally:
    """Counts and hashes the rows of an export while it streams."""

    written: int = 0
    size_bytes: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

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
        counts: Counts,
        *,
        guidelines_versions: Iterable[int] = (),
        checkpoints: Iterable[str] = (),
        licence: str | None = None,
        file: Mapping[str, str | int] | None = None,
        instructions: Mapping[int, str] | None = None,
        divided_by_instruction: int = 0,
    ) -> Manifest:
        """Return the manifest of what was counted.

        Raises:
            Invalid: the counts of a unit do not add up.
        """
        return Manifest(
            title=title,
            format=format,
            filter=dict(filter),
            written=self.written,
            counts=counts,
            size_bytes=self.size_bytes,
            content_sha256=self._hash.hexdigest(),
            guidelines_versions=sorted(set(guidelines_versions)),
            checkpoints=sorted(set(checkpoints)),
            licence=licence,
            file=file,
            instructions={str(key): text for key, text in sorted((instructions or {}).items())},
            divided_by_instruction=divided_by_instruction,
        )


def by_count(excluded: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return reasons with their counts, the most frequent first."""
    return sorted(excluded.items(), key=lambda item: (-item[1], item[0]))


def _plural(unit: str, number: int | None = None) -> str:
    """Return the name of a unit; singular for a `number` of 1."""
    name = "imported demonstrations" if unit == "demonstrations" else unit
    return name.removesuffix("s") if number == 1 else name


def _bullets(items: Iterable[tuple[str, object]], nothing: str) -> list[str]:
    return [f"- {_plain(name)}: {_plain(str(value))}" for name, value in items] or [nothing]


def _plain(text: str) -> str:
    """Keep a title or a name on one line."""
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
