"""What one batch of a file's rows becomes: prompts, demonstrations, completions and comparisons.

Everything is known by its content, so the same rows again add nothing. What a line means is the
formats' business; votes that come with a file are kept by `imported_votes`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import bulk
from app.db.base import Identified
from app.domain import earlier_turns
from app.domain.judgment_kinds import KINDS
from app.domain.ranking import MOST
from app.errors import Invalid
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    UnpairedRecord,
)
from app.models import (
    Assignment,
    Comparison,
    Completion,
    Demonstration,
    Judgment,
    Project,
    Prompt,
    Slot,
)
from app.services.datasets import (
    evaluation_sets,
    import_tally,
    imported_completions,
    imported_votes,
)
from app.services.datasets.import_tally import ImportTally
from app.services.datasets.imported_completions import StoredCompletion
from app.services.datasets.imported_votes import ImportedVote
from app.services.project import prompt_labels, prompts
from app.services.project.prompts import NewPrompt, StoredRow

_LOCK = 7_204_302  # any constant that no other advisory lock uses

Outcome = tuple[int, Record | Rejected]
"""What a row says, or why it was rejected, with the number of the line it starts on."""


@dataclass(frozen=True, slots=True)
class NumberedRecord:
    """A record with the number of its line, from 1."""

    line: int
    record: Record


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Rows that have been checked: `rows` counts them, `prompts` has one for each that fits."""

    rows: int
    accepted: Sequence[NumberedRecord]
    prompts: Sequence[NewPrompt]
    rejected: Sequence[tuple[int, Rejected]]


def length(outcome: Outcome) -> int:
    """Return about how many characters of a row are held in memory until it is stored."""
    _, record = outcome
    if isinstance(record, Rejected):
        return len(record.raw)
    count = sum(len(turn.content) for turn in record.messages)
    for candidate in candidates(record):
        count += len(candidate.text) + sum(len(turn.content) for turn in candidate.earlier)
    if isinstance(record, DemonstrationRecord):
        count += len(record.response)
    meta = getattr(record, "meta", None)
    return count + len(repr(meta)) if meta else count


def prepare(batch: Sequence[Outcome], source: str) -> PreparedBatch:
    """Do for a batch what does not need the database."""
    accepted: list[NumberedRecord] = []
    given: list[NewPrompt] = []
    rejected: list[tuple[int, Rejected]] = []
    for line, outcome in batch:
        if isinstance(outcome, Rejected):
            rejected.append((line, outcome))
            continue
        try:
            _check(outcome)
            given.append(_prompt(outcome, source))
        except Invalid as error:
            rejected.append((line, Rejected(line, str(error))))
        else:
            accepted.append(NumberedRecord(line, outcome))
    return PreparedBatch(len(batch), accepted, given, rejected)


def store(
    session: Session,
    project: Project,
    batch: PreparedBatch,
    tally: ImportTally,
    *,
    source: str,
    author_id: int | None = None,
    is_evaluation: bool = False,
) -> None:
    """Store what some rows say, in the caller's transaction, and count it."""
    bulk.prefer_indexes(session)
    _lock(session, project.id)
    if not tally.last_ids:
        tally.last_ids = import_tally.last_ids(session)
    for line, rejected in batch.rejected:
        tally.reject(line, rejected.reason, rejected.raw)
    accepted, given = batch.accepted, batch.prompts
    if is_evaluation:
        accepted, given = _declared(session, project, accepted, given, tally)
    _reserve_ids(session, project, accepted)
    labelers = imported_votes.labelers(session, project, [each.record for each in accepted])
    stored = prompts.store(
        session,
        project,
        given,
        author_id=author_id,
        is_evaluation=is_evaluation,
    )
    _keep_labels(session, project, given, stored, tally)
    if not is_evaluation:
        _count_splits(session, given, stored, tally)
    tally.rows += batch.rows
    tally.counts["prompts_new"] += sum(row.is_new for row in stored)
    tally.counts["records"] += len(accepted)
    pairs = list(zip(accepted, stored, strict=True))
    for numbered, prompt in pairs:
        if isinstance(numbered.record, PromptRecord) and not prompt.is_new:
            tally.repeat("prompts", numbered.line, prompt.id)
    _store_demonstrations(session, project, pairs, tally, source, author_id)
    _store_candidates(session, project, pairs, labelers, tally, source)


def _lock(session: Session, project_id: int) -> None:
    """Let one import at a time add to a project: two could find the same row missing."""
    if bulk.is_postgresql(session):
        session.execute(select(func.pg_advisory_xact_lock(_LOCK, project_id)))


def _reserve_ids(session: Session, project: Project, accepted: Sequence[NumberedRecord]) -> None:
    """Reserve the ids of all rows that may be added, so that nothing is asked between them."""
    counts: Counter[type[Identified]] = Counter()
    for numbered in accepted:
        record = numbered.record
        counts[Prompt] += 1
        counts[Demonstration] += isinstance(record, DemonstrationRecord)
        texts = len(candidates(record))
        if not texts:
            continue
        votes = imported_votes.count(record)
        counts[Completion] += texts
        counts[Comparison] += 1
        counts[Slot] += votes or project.overlap
        counts[Assignment] += votes
        counts[Judgment] += votes
    bulk.reserve_ahead(session, counts)


def _keep_labels(
    session: Session,
    project: Project,
    given: Sequence[NewPrompt],
    stored: Sequence[StoredRow],
    tally: ImportTally,
) -> None:
    """Keep the categories and tags that the rows name, and count what was not as in the file."""
    labels = [new_prompt.labels for new_prompt in given]
    kept = prompt_labels.keep(session, project.id, list(zip(stored, labels, strict=True)))
    counts = {**kept.counts(), "labels_refused": sum(each.refused for each in labels)}
    tally.counts.update({name: count for name, count in counts.items() if count})


def _count_splits(
    session: Session, given: Sequence[NewPrompt], stored: Sequence[StoredRow], tally: ImportTally
) -> None:
    """Count the prompts in the split that their file's name sets, and those that stay elsewhere."""
    wanted = {
        row.id: prompt.split
        for row, prompt in zip(stored, given, strict=True)
        if prompt.split is not None
    }
    if not wanted:
        return
    found = prompts.split_of_each(session, wanted.keys())
    kept = sum(found[prompt_id] != split for prompt_id, split in wanted.items())
    tally.counts["splits_named"] += len(wanted) - kept
    tally.counts["splits_kept"] += kept


def _store_demonstrations(
    session: Session,
    project: Project,
    pairs: Sequence[tuple[NumberedRecord, StoredRow]],
    tally: ImportTally,
    source: str,
    author_id: int | None,
) -> None:
    lines, responses, sources = [], [], []
    for numbered, prompt in pairs:
        if isinstance(numbered.record, DemonstrationRecord):
            lines.append(numbered.line)
            responses.append((prompt.id, numbered.record.response))
            sources.append(_source(numbered.record, source))
    stored = prompts.store_demonstrations(
        session, project.id, responses, sources=sources, author_id=author_id
    )
    tally.counts["demonstrations_new"] += sum(row.is_new for row in stored)
    for line, row in zip(lines, stored, strict=True):
        if not row.is_new:
            tally.repeat("demonstrations", line, row.id)


def _declared(
    session: Session,
    project: Project,
    accepted: Sequence[NumberedRecord],
    given: Sequence[NewPrompt],
    tally: ImportTally,
) -> tuple[list[NumberedRecord], list[NewPrompt]]:
    """Return the records and prompts that can be evaluated on; the others are put on the tally."""
    declared = evaluation_sets.declare(session, project, given)
    tally.counts["prompts_moved"] += declared.moved
    for at, reason in declared.refused.items():
        tally.reject(accepted[at].line, reason)
    fit = [at for at in range(len(accepted)) if at not in declared.refused]
    return [accepted[at] for at in fit], [given[at] for at in fit]


def _store_candidates(
    session: Session,
    project: Project,
    pairs: Sequence[tuple[NumberedRecord, StoredRow]],
    labelers: Mapping[str, int],
    tally: ImportTally,
    source: str,
) -> None:
    rows = [(numbered, prompt.id, candidates(numbered.record)) for numbered, prompt in pairs]
    stored = imported_completions.store(
        session,
        project,
        [(prompt_id, candidate) for _, prompt_id, texts in rows for candidate in texts],
        sources=[_source(numbered.record, source) for numbered, _, texts in rows for _ in texts],
        new_prompts={prompt.id for _, prompt in pairs if prompt.is_new},
    )
    tally.counts["completions_new"] += sum(completion.is_new for completion in stored)
    votes: list[ImportedVote] = []
    at = 0
    for numbered, prompt_id, texts in rows:
        own, at = stored[at : at + len(texts)], at + len(texts)
        if isinstance(numbered.record, CompletionsRecord):
            votes.extend(_asked(project, numbered, prompt_id, own, tally))
        elif texts or isinstance(numbered.record, ComparisonRecord):
            votes.extend(imported_votes.of_record(numbered.line, numbered.record, prompt_id, own))
        if isinstance(numbered.record, ComparisonRecord) and numbered.record.is_settled:
            tally.counts["settlements_not_imported"] += 1
    imported_votes.store(session, project, votes, labelers, tally)


def _asked(
    project: Project,
    numbered: NumberedRecord,
    prompt_id: int,
    stored: Sequence[StoredCompletion],
    tally: ImportTally,
) -> Iterator[ImportedVote]:
    """Yield the comparison of a prompt's completions, if the project's kind takes that many.

    Labelers are shown each text once, even if several models wrote it.
    """
    if not any(completion.is_new for completion in stored):
        tally.repeat("completions", numbered.line, stored[0].id)
    kind = KINDS[project.judgment_kind]
    by_turns: dict[Conversation, int] = {}
    for candidate, completion in zip(candidates(numbered.record), stored, strict=True):
        by_turns.setdefault(candidate.turns, completion.id)
    ids = tuple(by_turns.values())
    if max(kind.fewest, 1) <= len(ids) <= kind.most:
        yield ImportedVote(
            numbered.line,
            prompt_id,
            ids,
            None,
            kind.name,
            is_reported=False,
            is_new=any(completion.is_new for completion in stored),
        )
    else:
        tally.counts["kept_without_comparison"] += 1


def _check(record: Record) -> None:
    if isinstance(record, ComparisonRecord) and record.purpose != "train":
        raise Invalid(f"comparisons for {record.purpose} are not imported, only those for training")
    if isinstance(record, PreferenceRecord | ComparisonRecord):
        texts = [(candidate.earlier, candidate.text) for candidate in record.candidates]
        has_kind = isinstance(record, ComparisonRecord) and record.kind is not None
        if not has_kind and not 2 <= len(texts) <= MOST:
            raise Invalid(f"a comparison has 2 to {MOST} completions, not {len(texts)}")
        if len(set(texts)) == len(texts):
            return
        sources = [candidate.source for candidate in record.candidates]
        written = list(zip(texts, sources, strict=True))
        unsigned = {text for text, source in written if source is None}
        if len(set(written)) < len(texts) or any(texts.count(text) > 1 for text in unsigned):
            raise Invalid("two of the completions are the same text, and not of two sources")


def _prompt(record: Record, source: str) -> NewPrompt:
    """Return the prompt of a record. Raises Invalid if its turns are not those of a prompt."""
    turns = tuple((turn.role, turn.content) for turn in record.messages)
    if isinstance(record, PromptRecord):
        turns, later = earlier_turns.asked_in_steps(turns)
    else:
        later = next((candidate.follow_ups for candidate in candidates(record)), ())
    return NewPrompt(
        turns,
        later,
        source=_source(record, source),
        split=record.member_split,
        source_key=getattr(record, "source_id", None) or "",
        meta=getattr(record, "meta", None) or {},
    )


def _source(record: Record, source: str) -> str:
    """Return the name of the file in an archive without folders, or that of the whole file."""
    return record.member.rsplit("/", 1)[-1] if record.member else source


def candidates(record: Record) -> tuple[CompletionText, ...]:
    """Return the completions of a record, in its order."""
    if isinstance(record, CompletionsRecord):
        return record.completions
    if isinstance(record, PreferenceRecord | ComparisonRecord):
        return record.candidates
    if isinstance(record, UnpairedRecord):
        return (CompletionText(record.text),)
    return ()
