"""From judged comparisons to the rows of an export: aggregated, filtered, written in a format.

Pure functions from comparisons to bytes. An account says of every comparison and judgment that it
is in the export, or why it is not. Which options a format applies is in `export_options`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from app.domain import earlier_turns
from app.domain.id_set import IdSet
from app.domain.ranking import Ranking, Strength
from app.errors import Invalid
from app.formats import jsonl, prompts, records, rich, training_rows, trl, writers
from app.formats.manifest import Counts, ExportTally, by_count
from app.formats.records import ComparisonRecord, VoteRecord
from app.formats.training_rows import DatasetPrompt, JudgedCompletion
from app.services.datasets import export_pairs, instructed, judged_comparisons
from app.services.datasets.instructed import InstructionAccount
from app.services.datasets.judged_comparisons import (
    Aggregate,
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

TITLES: Mapping[str, str] = {
    "trl-implicit": "TRL, implicit prompt (for RewardTrainer)",
    "trl-explicit": "TRL, explicit prompt (for DPOTrainer)",
    "trl-implicit-text": "TRL text, implicit prompt",
    "trl-explicit-text": "TRL text, explicit prompt",
    "vertex-rlhf": "Vertex RLHF",
    "hh": "Anthropic HH",
    "openai-preference": "OpenAI preference",
    "llama-factory-alpaca": "LLaMA-Factory, Alpaca style",
    "llama-factory-sharegpt": "LLaMA-Factory, ShareGPT style",
    UNPAIRED: "Unpaired (prompt, completion, label)",
    DEMONSTRATIONS[0]: "Demonstrations (messages), written and edited",
    DEMONSTRATIONS[1]: "Demonstrations (prompt, completion), written and edited",
    RICH: "Rich: every vote, under the labeler’s pseudonym",
    TRAINING: "Training rows with token ids",
}
"""The formats on offer, in the order they are listed."""

Rows = Callable[[JudgedComparison, ExportOptions, "Account"], Iterator[Mapping[str, Any]]]


@dataclass(slots=True)
class Account:
    """What an export has seen and written so far."""

    tally: ExportTally = field(default_factory=ExportTally)
    counts: Counts = field(default_factory=Counts)
    judgments: IdSet = field(default_factory=IdSet)
    ai_judgments: IdSet = field(default_factory=IdSet)
    guidelines_versions: set[int] = field(default_factory=set)
    checkpoint_ids: set[int] = field(default_factory=set)
    instruction: InstructionAccount = field(default_factory=InstructionAccount)
    texts: set[int] = field(default_factory=set)  # hashes of demonstrations, to detect repetitions

    def take(self, comparison: JudgedComparison, excluded: Mapping[int, str] | None = None) -> None:
        """Record that a comparison is in the export.

        `excluded` maps the judgments on it that are not to their reasons.
        """
        self.counts.comparisons.exported += 1
        self.counts.settled += comparison.is_settled
        votes: Sequence[Voted] = comparison.votes
        if excluded:
            votes = [vote for vote in votes if vote.judgment_id not in excluded]
            for vote in comparison.votes:
                if vote.judgment_id in excluded:
                    self.counts.judgments.exclude(excluded[vote.judgment_id])
        self.counts.judgments.exported += len(votes)
        self.judgments.update([vote.judgment_id for vote in votes if not vote.is_ai])
        self.ai_judgments.update([-vote.judgment_id for vote in votes if vote.is_ai])
        self.guidelines_versions.update([vote.guidelines_version for vote in votes])
        for candidate in comparison.candidates:
            if candidate.checkpoint_id is not None:
                self.checkpoint_ids.add(candidate.checkpoint_id)

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Count the parts of a comparison as one, which is exported if one of them is."""
        unit, settled = self.counts.comparisons, self.counts.settled
        exported, excluded, unit.excluded = unit.exported, unit.excluded, Counter()
        yield
        reasons, unit.excluded = unit.excluded, excluded
        if unit.exported > exported:
            unit.exported = exported + 1
            self.counts.settled = min(self.counts.settled, settled + 1)
        else:
            unit.exclude(by_count(reasons)[0][0])

    def leave_out(
        self,
        comparison: JudgedComparison,
        reason: str,
        excluded: Mapping[int, str] | None = None,
    ) -> None:
        """Record that a comparison is not in the export; its judgments may have other reasons."""
        self.counts.comparisons.exclude(reason)
        for vote in comparison.votes:
            self.counts.judgments.exclude((excluded or {}).get(vote.judgment_id, reason))


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
    rows = _ROWS[format] if format in _ROWS else _preferences(format, options)
    imported = _imported(format, shown, account) if format in DEMONSTRATIONS else ()
    judged = (
        row
        for each in comparisons
        for row in instructed.rows(
            format, options.instruction, each, account, lambda part: rows(part, options, account)
        )
    )
    whole = chain(instructed.imported(format, options.instruction, imported), judged)
    yield from account.tally.counted(map(jsonl.encode, whole))


def _preferences(format: str, options: ExportOptions) -> Rows:
    with_margin = options.aggregate is not Aggregate.MAJORITY and format in writers.WITH_MARGIN
    spell = writers.preference(format, margin=with_margin)

    def rows(
        comparison: JudgedComparison, options: ExportOptions, account: Account
    ) -> Iterator[Mapping[str, Any]]:
        pairs = account.counts.pairs
        before = pairs.exported
        reasons: list[str] = []
        by_vote: dict[int, str] = {}  # "" for a vote that has a row
        for implied in export_pairs.of_comparison(comparison, options):
            reason, written = implied.reason, []
            if not reason:
                try:
                    written = [spell(preference) for preference in implied.preferences]
                except Invalid as error:
                    reason = str(error)
            pairs.considered += 1
            if reason:
                pairs.exclude(reason)
                reasons.append(reason)
            else:
                pairs.exported += 1
                yield from written
            if implied.vote is not None and by_vote.get(implied.vote.judgment_id) != "":
                by_vote[implied.vote.judgment_id] = reason
        excluded = _excluded_votes(comparison, by_vote)
        if pairs.exported > before:
            account.take(comparison, excluded)
        else:
            account.leave_out(comparison, _main_reason(comparison, reasons), excluded)

    return rows


def _excluded_votes(comparison: JudgedComparison, by_vote: Mapping[int, str]) -> dict[int, str]:
    """Return why votes on a comparison make no row, whatever becomes of the others."""
    if comparison.is_settled:
        return {
            vote.judgment_id: judged_comparisons.SETTLED_INSTEAD
            for vote in ([] if comparison.settled is None else comparison.votes)
        }
    excluded = {id: reason for id, reason in by_vote.items() if reason}
    for vote in comparison.votes:
        if vote.ranking is None and vote.judgment_id not in by_vote:
            excluded[vote.judgment_id] = judged_comparisons.NOT_PREFERENCE
    return excluded


def _main_reason(comparison: JudgedComparison, reasons: Sequence[str]) -> str:
    """Return why a comparison has no row: the most frequent reason of its pairs, if any."""
    if comparison.is_settled_as_bad:
        return judged_comparisons.SETTLED_NEITHER
    return by_count(Counter(reasons))[0][0] if reasons else judged_comparisons.NOT_PREFERENCE


def _rich_rows(
    comparison: JudgedComparison, options: ExportOptions, account: Account
) -> Iterator[Mapping[str, Any]]:
    del options
    account.take(comparison)
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
            settled=comparison.settled,
            is_settled_as_bad=comparison.is_settled_as_bad,
            chosen=comparison.chosen,
        )
    )


def _unpaired_rows(
    comparison: JudgedComparison, options: ExportOptions, account: Account
) -> Iterator[Mapping[str, Any]]:
    """Yield labeled completions: thumbs as given, the best as good, the worst (or all) as bad."""
    del options
    k = len(comparison.candidates)
    excluded: dict[int, str] = {}
    if comparison.is_settled:
        labeled = [_ranked_labels(comparison.settled, k, both_bad=comparison.is_settled_as_bad)]
        reason = judged_comparisons.SETTLED_INSTEAD
        excluded = {vote.judgment_id: reason for vote in comparison.votes}
    else:
        labeled = [_labels(vote, k) for vote in comparison.votes]
        excluded = {
            vote.judgment_id: judged_comparisons.NOT_LABELLED
            for vote, labels in zip(comparison.votes, labeled, strict=True)
            if not labels
        }
    if not any(labeled):
        account.leave_out(comparison, judged_comparisons.NOT_LABELLED, excluded)
        return
    if any(not text.strip() for each in comparison.candidates for text in _said_before(each)):
        account.leave_out(comparison, judged_comparisons.EMPTY_BEFORE, excluded)
        return
    account.take(comparison, excluded)
    messages, completions = export_pairs.messages(comparison), export_pairs.candidates(comparison)
    for labels in labeled:
        for place, label in labels.items():
            # Each row has a prompt of its own, so the turns before a response belong to it.
            prompt, text = (*messages, *completions[place].earlier), completions[place].text
            yield trl.write_unpaired(records.UnpairedRecord(prompt, text, label))


def _said_before(candidate: JudgedCompletion) -> tuple[str, ...]:
    return earlier_turns.responses(candidate.earlier)


def _training_rows(
    comparison: JudgedComparison, options: ExportOptions, account: Account
) -> Iterator[Mapping[str, Any]]:
    del options
    row = judged_comparisons.training_row(comparison)
    if row is None:
        account.leave_out(comparison, _main_reason(comparison, ()))
        return
    excluded = {
        vote.judgment_id: judged_comparisons.NOT_PREFERENCE
        for vote in comparison.votes
        if not judged_comparisons.teaches(comparison, vote)
    }
    account.take(comparison, excluded)
    yield training_rows.to_json(
        row,
        judged_comparisons.plain_votes(comparison),
        judged_comparisons.plain_votes(comparison, of_ai=True),
    )


def _demonstration_rows(format: str) -> Rows:
    def rows(
        comparison: JudgedComparison, options: ExportOptions, account: Account
    ) -> Iterator[Mapping[str, Any]]:
        del options
        excluded: dict[int, str] = {}
        for vote in comparison.votes:
            if vote.text is None:
                excluded[vote.judgment_id] = judged_comparisons.NO_TEXT
                continue
            row, reason = _demonstration(format, _edited(comparison), vote.text, account)
            if row is None:
                excluded[vote.judgment_id] = reason
            else:
                yield row
        if len(excluded) < len(comparison.votes):
            account.take(comparison, excluded)
        else:
            reason = by_count(Counter(excluded.values()))[0][0]
            account.leave_out(comparison, reason, excluded)

    return rows


def _edited(comparison: JudgedComparison) -> DatasetPrompt:
    """Return the prompt of a text: with the turns before the response that it is a version of."""
    prompt = comparison.prompt
    earlier = comparison.candidates[0].earlier if comparison.candidates else ()
    return replace(prompt, messages=(*prompt.messages, *earlier)) if earlier else prompt


def _imported(
    format: str, shown: Iterable[tuple[DatasetPrompt, str]], account: Account
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of imported demonstrations."""
    counts = account.counts.demonstrations
    for prompt, text in shown:
        counts.considered += 1
        row, reason = _demonstration(format, prompt, text, account)
        if row is None:
            counts.exclude(reason)
        else:
            counts.exported += 1
            yield row


def _demonstration(
    format: str, prompt: DatasetPrompt, text: str, account: Account
) -> tuple[Mapping[str, Any] | None, str]:
    """Return a demonstration's row, or None and why there is none."""
    known = hash((prompt.id, len(prompt.messages), text))
    if known in account.texts:
        return None, judged_comparisons.SAME_TEXT
    try:
        record = records.DemonstrationRecord(prompt.turns, text)
        row = _SPELL[format](record)
    except Invalid as error:
        return None, str(error)
    account.texts.add(known)
    return row, ""


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
    return _ranked_labels(vote.ranking, k, both_bad=vote.both_bad)


def _ranked_labels(ranking: Ranking | None, k: int, *, both_bad: bool) -> dict[int, bool]:
    if both_bad:
        return dict.fromkeys(range(k), False)
    if ranking is None or len(ranking.groups) < 2:
        return {}
    best, worst = ranking.groups[0], ranking.groups[-1]
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
        margin=vote.margin,
    )
