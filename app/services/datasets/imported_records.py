"""What one batch of a file's rows becomes: prompts, demonstrations, completions and comparisons.

Everything is known by its content, so the same rows again add nothing. What a line means is the
formats' business; votes that come with a file are kept by `imported_votes`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import KINDS
from app.domain.prompt_labels import of_notes
from app.domain.ranking import MOST
from app.errors import Invalid
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    UnpairedRecord,
)
from app.models import Completion, Project, Prompt
from app.services.datasets import imported_votes
from app.services.project import prompt_labels, prompts
from app.services.queue import comparisons

REJECTS_KEPT = 1000
RAW_KEPT = 2000

Outcome = tuple[int, Record | Rejected]
"""What a row says, or why it was rejected, with the number of the line it starts on."""


@dataclass(frozen=True, slots=True)
class NumberedRecord:
    """A record with the number of its line, from 1."""

    line: int
    record: Record


@dataclass(slots=True)
class ImportTally:
    """What became of the rows of a file so far; `rows` says how many have been seen."""

    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0

    def reject(self, line: int, reason: str, raw: bytes = b"") -> None:
        """Report a line that was not imported."""
        self.counts["rejected"] += 1
        if len(self.rejects) < REJECTS_KEPT:
            shown = (
                raw[:RAW_KEPT].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
            )
            self.rejects.append({"line": line, "reason": reason, "raw": shown})


def store(
    session: Session,
    project: Project,
    batch: Sequence[Outcome],
    tally: ImportTally,
    *,
    source: str,
    author_id: int | None = None,
) -> None:
    """Store what some rows say, in the caller's transaction, and count it."""
    accepted = list(_accepted(batch, tally))
    added = prompts.add(
        session,
        project,
        [_prompt(numbered.record, source) for numbered in accepted],
        author_id=author_id,
    )
    _keep_labels(session, project, accepted, added.prompts, tally)
    tally.rows += len(batch)
    tally.counts["prompts_new"] += added.new
    tally.counts["records"] += len(accepted)
    pairs = list(zip(accepted, added.prompts, strict=True))
    demonstrations = [
        (prompt, numbered.record.response)
        for numbered, prompt in pairs
        if isinstance(numbered.record, DemonstrationRecord)
    ]
    tally.counts["demonstrations_new"] += prompts.add_demonstrations(
        session, demonstrations, source=source, author_id=author_id
    )
    _store_candidates(session, project, pairs, tally, source)


def _keep_labels(
    session: Session,
    project: Project,
    accepted: Sequence[NumberedRecord],
    stored: Sequence[Prompt],
    tally: ImportTally,
) -> None:
    """Keep the categories and tags that the rows name, and count what was not as in the file."""
    labels = [of_notes(getattr(numbered.record, "meta", None) or {}) for numbered in accepted]
    named = [(prompt.id, each) for prompt, each in zip(stored, labels, strict=True)]
    kept = prompt_labels.keep(session, project.id, named)
    counts = {**kept.counts(), "labels_refused": sum(each.refused for each in labels)}
    tally.counts.update({name: count for name, count in counts.items() if count})


def _accepted(batch: Sequence[Outcome], tally: ImportTally) -> Iterator[NumberedRecord]:
    """Yield the records of a batch that can be stored; the others are put on the tally."""
    for line, outcome in batch:
        if isinstance(outcome, Rejected):
            tally.reject(line, outcome.reason, outcome.raw)
            continue
        try:
            _check(outcome)
        except Invalid as error:
            tally.reject(line, str(error))
        else:
            yield NumberedRecord(line, outcome)


def _store_candidates(
    session: Session,
    project: Project,
    pairs: Sequence[tuple[NumberedRecord, Prompt]],
    tally: ImportTally,
    source: str,
) -> None:
    rows = [(numbered, prompt, _candidates(numbered.record)) for numbered, prompt in pairs]
    rows = [row for row in rows if row[2] or isinstance(row[0].record, ComparisonRecord)]
    answered = [(prompt, candidates) for _, prompt, candidates in rows]
    known_ids = _completions(session, project, answered, tally, source)
    votes: list[imported_votes.ImportedVote] = []
    for numbered, prompt, candidates in rows:
        ids = tuple(known_ids[prompt.id, prompts.text_hash(each.text)] for each in candidates)
        if isinstance(numbered.record, CompletionsRecord):
            _compare(session, project, prompt, tuple(dict.fromkeys(ids)), tally)
        else:
            votes.extend(imported_votes.of_record(numbered.line, numbered.record, prompt.id, ids))
        if isinstance(numbered.record, ComparisonRecord) and numbered.record.is_settled:
            tally.counts["settlements_not_imported"] += 1
    done = imported_votes.store(session, project, votes)
    tally.counts["judgments_new"] += done.new
    tally.counts["comparisons_new"] += done.comparisons
    for line, reason in done.refused:
        tally.reject(line, reason)


def _compare(
    session: Session, project: Project, prompt: Prompt, ids: tuple[int, ...], tally: ImportTally
) -> None:
    """Make a comparison of a prompt's completions, if the project's kind takes that many."""
    kind = KINDS[project.judgment_kind]
    if not max(kind.fewest, 1) <= len(ids) <= kind.most:
        tally.counts["kept_without_comparison"] += 1
        return
    key = imported_votes.natural_key(kind.name, prompt.id, ids)
    if imported_votes.comparison_of(session, project.id, key) is not None:
        return
    comparisons.create(
        session,
        project,
        prompt.id,
        ids,
        natural_key=key,
        seed=project.split_seed,
        priority=imported_votes.BEHIND_ROUNDS,
    )
    tally.counts["comparisons_new"] += 1


def _completions(
    session: Session,
    project: Project,
    answered: Sequence[tuple[Prompt, Sequence[CompletionText]]],
    tally: ImportTally,
    source: str,
) -> dict[tuple[int, str], int]:
    """Store completions, one per text of a prompt; return their ids by prompt and text hash."""
    by_text: dict[tuple[int, str], CompletionText] = {}
    for prompt, candidates in answered:
        for candidate in candidates:
            by_text.setdefault((prompt.id, prompts.text_hash(candidate.text)), candidate)
    if not by_text:
        return {}
    keys = {(prompt_id, f"import-{digest}"): (prompt_id, digest) for prompt_id, digest in by_text}
    query = select(Completion.id, Completion.prompt_id, Completion.source_key).where(
        Completion.prompt_id.in_({prompt_id for prompt_id, _ in by_text}),
        Completion.source_key.in_({source_key for _, source_key in keys}),
    )
    known_ids = {
        keys[known.prompt_id, known.source_key]: known.id
        for known in session.execute(query)
        if (known.prompt_id, known.source_key) in keys
    }
    moment = now(session)
    fresh = {
        place: Completion(
            project_id=project.id,
            prompt_id=place[0],
            source=(candidate.source or source)[:120],
            source_key=f"import-{place[1]}",
            sample_index=0,
            text=candidate.text,
            finish_reason="imported",
            sampling={},
            created_at=moment,
        )
        for place, candidate in by_text.items()
        if place not in known_ids
    }
    session.add_all(fresh.values())
    session.flush()
    tally.counts["completions_new"] += len(fresh)
    return known_ids | {place: completion.id for place, completion in fresh.items()}


def _check(record: Record) -> None:
    if isinstance(record, PromptRecord):
        prompts.asked_in_steps(record.messages)
    if isinstance(record, ComparisonRecord) and record.purpose != "train":
        raise Invalid(f"comparisons for {record.purpose} are not imported, only those for training")
    if isinstance(record, PreferenceRecord | ComparisonRecord):
        texts = [candidate.text for candidate in record.candidates]
        has_kind = isinstance(record, ComparisonRecord) and record.kind is not None
        if not has_kind and not 2 <= len(texts) <= MOST:
            raise Invalid(f"a comparison has 2 to {MOST} completions, not {len(texts)}")
        if len(set(texts)) < len(texts):
            raise Invalid("two of the completions are the same text")


def _prompt(record: Record, source: str) -> prompts.NewPrompt:
    turns = tuple((turn.role, turn.content) for turn in record.messages)
    later: tuple[str, ...] = ()
    if isinstance(record, PromptRecord):
        turns, later = prompts.asked_in_steps(turns)
    return prompts.NewPrompt(
        turns,
        later,
        source=source,
        source_key=getattr(record, "source_id", None) or "",
        meta=getattr(record, "meta", None) or {},
    )


def _candidates(record: Record) -> tuple[CompletionText, ...]:
    if isinstance(record, CompletionsRecord):
        return record.completions
    if isinstance(record, PreferenceRecord | ComparisonRecord):
        return record.candidates
    if isinstance(record, UnpairedRecord):
        return (CompletionText(record.text),)
    return ()
