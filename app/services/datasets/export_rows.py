"""From judged comparisons to the rows of an export: aggregated, filtered, written in a format.

Pure functions from comparisons to bytes. A tally accounts for every row that could have been made:
it is written, or left out for a counted reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from app.domain.ranking import Strength
from app.errors import Invalid
from app.formats import jsonl, prompts, records, rich, training_rows, trl, writers
from app.formats.manifest import ExportTally
from app.formats.records import ComparisonRecord, VoteRecord
from app.formats.training_rows import DatasetPrompt
from app.services.datasets import export_pairs, instructed, judged_comparisons
from app.services.datasets.instructed import InstructionAccount
from app.services.datasets.judged_comparisons import (
    Aggregate,
    Counts,
    ExportOptions,
    JudgedComparison,
    Voted,
)

RICH = "rich"
UNPAIRED = "unpaired"
DEMONSTRATIONS = ("demonstrations", "demonstrations-text")
"""Demonstrations as whole conversations, or as a prompt and a completion in plain text."""
TRAINING = "training"
"""The input of reward models, with token ids and every vote."""

_KNOWN: Mapping[str, str] = {
    "trl-implicit": "TRL, implicit prompt (reward models)",
    "trl-explicit": "TRL, explicit prompt (DPO)",
    "trl-implicit-text": "TRL text, implicit prompt",
    "trl-explicit-text": "TRL text, explicit prompt",
    "vertex-rlhf": "Vertex RLHF",
    "hh": "Anthropic HH",
    "openai-preference": "OpenAI preference",
}
TITLES: Mapping[str, str] = {
    **_KNOWN,
    **{name: name for name in writers.PREFERENCES if name not in _KNOWN},
    UNPAIRED: "Unpaired (prompt, completion, label)",
    DEMONSTRATIONS[0]: "Demonstrations (messages), written and edited",
    DEMONSTRATIONS[1]: "Demonstrations (prompt, completion), written and edited",
    RICH: "Rich: every vote under its pseudonym",
    TRAINING: "Training rows with token ids",
}
"""The formats on offer, in the order they are listed."""

Rows = Callable[[JudgedComparison, ExportOptions, "Account"], Iterator[Mapping[str, Any]]]


@dataclass(slots=True)
class Account:
    """What an export has seen and written so far."""

    tally: ExportTally = field(default_factory=ExportTally)
    counts: Counts = field(default_factory=Counts)
    judgment_ids: set[int] = field(default_factory=set)
    guidelines_versions: set[int] = field(default_factory=set)
    checkpoint_ids: set[int] = field(default_factory=set)
    instruction: InstructionAccount = field(default_factory=InstructionAccount)
    texts: set[int] = field(default_factory=set)  # hashes of demonstrations, to detect repetitions

    def took(self, comparison: JudgedComparison, votes: Iterable[Voted]) -> None:
        """Record that votes of a comparison are in the export."""
        for vote in votes:
            self.judgment_ids.add(vote.judgment_id)
            self.guidelines_versions.add(vote.guidelines_version)
        for candidate in comparison.candidates:
            if candidate.checkpoint_id is not None:
                self.checkpoint_ids.add(candidate.checkpoint_id)


def check(format: str) -> None:
    """Check the name of an export format.

    Raises:
        Invalid: there is no such format; the message lists those there are.
    """
    if format not in TITLES:
        raise Invalid(f"there is no export format {format!r}; there are {', '.join(TITLES)}")


def write(
    comparisons: Iterable[JudgedComparison],
    format: str,
    options: ExportOptions,
    account: Account,
    *,
    shown: Iterable[tuple[DatasetPrompt, str]] = (),
) -> Iterator[bytes]:
    """Yield the lines of an export; `shown` are imported demonstrations."""
    check(format)
    rows = _ROWS[format] if format in _ROWS else _preferences(format)
    imported = (_demonstration(format, prompt, text, account) for prompt, text in shown)
    judged = (
        row
        for each in comparisons
        for row in instructed.rows(
            format,
            options.instruction,
            each,
            account.instruction,
            lambda part: rows(part, options, account),
        )
    )
    from_files = (row for row in imported if row is not None)
    whole = chain(instructed.imported(format, options.instruction, from_files), judged)
    yield from account.tally.counted(jsonl.encode(row) for row in whole)


def filter_of(options: ExportOptions) -> dict[str, str | float | bool]:
    """Return the options as the filter of a manifest."""
    return {
        "aggregate": str(options.aggregate),
        "ties": str(options.ties),
        "min_agreement": options.min_agreement,
        "rounds": ", ".join(map(str, options.rounds)) or "all",
        "purposes": ", ".join(options.purposes),
        "splits": ", ".join(options.splits),
        "include_adjudicated": options.include_adjudicated,
        "instruction": str(options.instruction),
    }


def _preferences(format: str) -> Rows:
    with_margin = format.startswith("trl-")

    def rows(
        comparison: JudgedComparison, options: ExportOptions, account: Account
    ) -> Iterator[Mapping[str, Any]]:
        spell = writers.preference(
            format, margin=with_margin and options.aggregate is Aggregate.VOTE_SHARE
        )
        has_row = False
        for record in export_pairs.of_comparison(comparison, options, account.tally):
            try:
                yield spell(record)
            except Invalid as error:
                account.tally.exclude(str(error))
            else:
                has_row = True
        if has_row:
            used = comparison.edits or [v for v in comparison.votes if v.ranking is not None]
            account.took(comparison, used)

    return rows


def _rich_rows(
    comparison: JudgedComparison, options: ExportOptions, account: Account
) -> Iterator[Mapping[str, Any]]:
    del options
    account.took(comparison, comparison.votes)
    yield rich.write(
        ComparisonRecord(
            export_pairs.messages(comparison),
            export_pairs.candidates(comparison),
            tuple(_vote_record(vote) for vote in comparison.votes),
            comparison=str(comparison.comparison_id),
            purpose=comparison.purpose,
            split=comparison.prompt.split,
            round=comparison.round_number,
            kind=comparison.kind,
            weights=comparison.weights,
        )
    )


def _unpaired_rows(
    comparison: JudgedComparison, options: ExportOptions, account: Account
) -> Iterator[Mapping[str, Any]]:
    """Yield labeled completions: thumbs as given, the best as good, the worst (or all) as bad."""
    del options
    for vote in comparison.votes:
        labels = _labels(vote, len(comparison.candidates))
        if not labels:
            account.tally.exclude(judged_comparisons.NOT_LABELLED)
            continue
        account.took(comparison, [vote])
        for place, label in labels.items():
            text = comparison.candidates[place].text
            yield trl.write_unpaired(
                records.UnpairedRecord(export_pairs.messages(comparison), text, label)
            )


def _training_rows(
    comparison: JudgedComparison, options: ExportOptions, account: Account
) -> Iterator[Mapping[str, Any]]:
    del options
    row = judged_comparisons.training_row(comparison)
    if row is None:
        account.tally.exclude(judged_comparisons.NOT_PREFERENCE)
        return
    account.took(
        comparison, (v for v in comparison.votes if judged_comparisons.teaches(comparison, v))
    )
    yield training_rows.to_json(row, judged_comparisons.plain_votes(comparison))


def _demonstration_rows(format: str) -> Rows:
    def rows(
        comparison: JudgedComparison, options: ExportOptions, account: Account
    ) -> Iterator[Mapping[str, Any]]:
        del options
        for vote in comparison.votes:
            if vote.text is None:
                account.tally.exclude(judged_comparisons.NO_TEXT)
                continue
            made = _demonstration(format, comparison.prompt, vote.text, account)
            if made is not None:
                account.took(comparison, [vote])
                yield made

    return rows


def _demonstration(
    format: str, prompt: DatasetPrompt, text: str, account: Account
) -> Mapping[str, Any] | None:
    """Return a demonstration's row, or None after counting why there is none."""
    known = hash((prompt.id, text))
    if known in account.texts:
        account.tally.exclude(judged_comparisons.SAME_TEXT)
        return None
    try:
        record = records.DemonstrationRecord(export_pairs.turns(prompt), text)
        row = _SPELL[format](record)
    except Invalid as error:
        account.tally.exclude(str(error))
        return None
    account.texts.add(known)
    return row


_SPELL: Mapping[str, Callable[[records.DemonstrationRecord], records.Row]] = {
    DEMONSTRATIONS[0]: prompts.write_demonstration,
    DEMONSTRATIONS[1]: prompts.write_demonstration_text,
}
_ROWS: Mapping[str, Rows] = {
    **{name: _demonstration_rows(name) for name in DEMONSTRATIONS},
    RICH: _rich_rows,
    UNPAIRED: _unpaired_rows,
    TRAINING: _training_rows,
}


def _labels(vote: Voted, k: int) -> dict[int, bool]:
    if vote.thumb is not None:
        return {0: vote.thumb == "up"}
    if vote.both_bad:
        return dict.fromkeys(range(k), False)
    if vote.ranking is None or len(vote.ranking.groups) < 2:
        return {}
    best, worst = vote.ranking.groups[0], vote.ranking.groups[-1]
    return {place: place in best for place in sorted((*best, *worst))}


def _vote_record(vote: Voted) -> VoteRecord:
    return VoteRecord(
        labeler=vote.labeler,
        ranking=vote.ranking,
        strength=None if vote.strength is None else Strength(vote.strength),
        both_bad=vote.both_bad,
        flags=vote.flags,
        comment=vote.comment,
        shown_order=vote.shown_order,
        guidelines_version=vote.guidelines_version,
        started_at=vote.started_at,
        submitted_at=vote.submitted_at,
        active_ms=vote.active_ms,
        ratings=None
        if vote.ratings is None
        else {name: tuple(given) for name, given in vote.ratings.items()},
        thumb=vote.thumb,
        reasons=vote.reasons,
        text=vote.text,
    )
