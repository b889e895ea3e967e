"""Votes in imported files, stored as judgments of labelers who can never sign in.

A vote keeps the labeler's name from the file; votes without a name belong to one nameless labeler.
They are used for training and agreement like any other judgment, under a pseudonym of the project.
A batch is stored with a few statements for all its votes; the rows of judgments are made by
`imported_judgments`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.formats.records import (
    ComparisonRecord,
    PreferenceRecord,
    Record,
    UnpairedRecord,
    VoteRecord,
)
from app.models import Project
from app.services.datasets import imported_judgments, imported_labelers
from app.services.datasets.import_tally import ImportTally
from app.services.datasets.imported_completions import StoredCompletion
from app.services.datasets.imported_judgments import JudgedSlots, NewJudgment, Said
from app.services.datasets.imported_labelers import is_imported
from app.services.project import criteria
from app.services.queue import comparison_batches, comparisons
from app.services.queue.comparison_batches import NewComparison

__all__ = ["BEHIND_ROUNDS", "ImportedVote", "is_imported", "natural_key", "of_record", "store"]

BEHIND_ROUNDS = -1
"""Priority of imported comparisons: a round waits for its own, nothing waits for these."""


@dataclass(frozen=True, slots=True)
class ImportedVote:
    """A vote in a file; `vote.ranking` is in the order of `completion_ids`.

    `merged_ids` stood for the same texts in the first imports. `is_reported` is false for
    comparisons whose repetition is reported as one of completions. `is_new` is true if a completion
    was added in this transaction, so that no comparison of it has been stored.
    """

    line: int
    prompt_id: int
    completion_ids: tuple[int, ...]
    vote: VoteRecord | None  # None: a comparison without judgments
    kind: JudgmentKind
    weights: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    merged_ids: tuple[int, ...] = ()
    is_reported: bool = True
    is_new: bool = False
    key: str = field(init=False)
    """The natural key of the comparison."""
    merged_key: str | None = field(init=False)
    """The key that the first imports gave the comparison, if it was another."""

    def __post_init__(self) -> None:
        key = natural_key(self.kind, self.prompt_id, self.completion_ids)
        is_merged = self.merged_ids not in ((), self.completion_ids)
        merged = natural_key(self.kind, self.prompt_id, self.merged_ids) if is_merged else None
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "merged_key", merged)


def of_record(
    line: int, record: Record, prompt_id: int, completions: Sequence[StoredCompletion]
) -> Iterator[ImportedVote]:
    """Yield the votes in a record, whose completions have been stored."""
    ids = tuple(completion.id for completion in completions)
    imported = partial(
        ImportedVote,
        line,
        prompt_id,
        ids,
        merged_ids=tuple(completion.merged_id for completion in completions),
        is_new=any(completion.is_new for completion in completions),
    )
    if isinstance(record, PreferenceRecord):
        said = VoteRecord(
            record.labeler or "", record.ranking, record.strength, margin=record.margin
        )
        yield imported(said, _ordering(ids))
    elif isinstance(record, UnpairedRecord):
        said = VoteRecord(record.labeler or "", None, thumb="up" if record.label else "down")
        yield imported(said, JudgmentKind.THUMBS)
    elif isinstance(record, ComparisonRecord):
        kind = JudgmentKind(record.kind) if record.kind else _ordering(ids)
        for vote in record.votes or (None,):
            yield imported(vote, kind, record.weights, record.scales)


def count(record: Record) -> int:
    """Return the number of votes in a record."""
    if isinstance(record, ComparisonRecord):
        return len(record.votes)
    return isinstance(record, PreferenceRecord | UnpairedRecord)


def labelers(session: Session, project: Project, records: Iterable[Record]) -> dict[str, int]:
    """Return the accounts of those who voted by their names, adding those that are missing."""
    names: set[str] = set()
    for record in records:
        if isinstance(record, PreferenceRecord | UnpairedRecord):
            names.add(record.labeler or "")
        elif isinstance(record, ComparisonRecord):
            names.update([vote.labeler for vote in record.votes])
    return imported_labelers.ids(session, project, names) if names else {}


def store(
    session: Session,
    project: Project,
    votes: Sequence[ImportedVote],
    labelers: Mapping[str, int],
    tally: ImportTally,
) -> None:
    """Store votes of these labelers and put them on the tally; a repeated vote changes nothing.

    One that contradicts what its labeler said before is rejected.
    """
    tally.counts["judgments_new"] += 0
    tally.counts["comparisons_new"] += 0
    if votes:
        rated = _on_own_scales(session, project, votes, tally)
        batch = _Batch(session, project, rated, labelers, tally)
        for imported in rated:
            batch.take(imported)
        batch.store()


class _Batch:
    """What the votes of a batch add, decided in the order of the file before anything is stored."""

    def __init__(
        self,
        session: Session,
        project: Project,
        votes: Sequence[ImportedVote],
        labelers: Mapping[str, int],
        tally: ImportTally,
    ) -> None:
        self.session, self.project, self.tally = session, project, tally
        self.labelers = labelers
        keys = {
            key
            for imported in votes
            for key in (None if imported.is_new else imported.key, imported.merged_key)
            if key
        }
        self.known = comparison_batches.by_natural_key(session, project.id, keys)
        self.orders = {key: known.completion_ids for key, known in self.known.items()}
        self.judged = self._judged(votes)
        self.wanted: dict[str, ImportedVote] = {}  # comparisons that are new
        self.open: set[str] = set()  # those of them that labelers are asked to judge
        self.new: dict[str, list[NewJudgment]] = {}
        self.margins: dict[int, float] = {}

    def take(self, imported: ImportedVote) -> None:
        """Decide what a vote adds, if anything."""
        vote = imported.vote
        if vote is None:
            self._ask(imported)
            return
        labeler_id = self.labelers[vote.labeler]
        if self._is_merged(imported, vote, labeler_id):
            return
        if imported.key not in self.orders:
            self._want(imported)
        places = _places(self.orders[imported.key], imported.completion_ids)
        said = imported_judgments.said(imported.kind, vote, places)
        before = self.judged.get((imported.key, labeler_id))
        if before is None:
            self.judged[imported.key, labeler_id] = said
            new = NewJudgment(vote, labeler_id, said, places)
            self.new.setdefault(imported.key, []).append(new)
        elif (difference := imported_judgments.difference(before, said)) is not None:
            who = f"labeler {vote.labeler}" if vote.labeler else "a labeler without a name"
            self.tally.reject(imported.line, f"{who} has judged these completions {difference}")
        else:
            self._repeat(imported, before, said)

    def store(self) -> None:
        """Store what the votes add."""
        wanted = [self._new_comparison(key, first) for key, first in self.wanted.items()]
        created = comparison_batches.create(self.session, self.project, wanted)
        judged = [
            JudgedSlots(comparison.id, new.kind, comparison.done_slot_ids, judgments)
            for new, comparison in zip(wanted, created, strict=True)
            if (judgments := self.new.pop(new.natural_key, ()))
        ]
        counts = {self.known[key].id: len(judgments) for key, judgments in self.new.items()}
        taken = comparison_batches.take_slots(self.session, counts)
        judged += [
            JudgedSlots(known.id, known.kind, taken[known.id], judgments)
            for key, judgments in self.new.items()
            if (known := self.known[key])
        ]
        added = imported_judgments.add(self.session, self.project.id, judged)
        self.tally.counts["comparisons_new"] += len(created)
        self.tally.counts["judgments_new"] += added
        if self.margins:
            self.tally.counts["margins_new"] += len(self.margins)
            imported_judgments.set_margins(self.session, self.margins)

    def _judged(self, votes: Iterable[ImportedVote]) -> dict[tuple[str, int], Said]:
        """Return what the labelers of these votes have said of the same comparisons before."""
        pairs = {
            (self.known[key].id, self.labelers[imported.vote.labeler]): key
            for imported in votes
            for key in (imported.key, imported.merged_key)
            if imported.vote is not None and key in self.known
        }
        current = imported_judgments.current(self.session, pairs)
        return {(pairs[pair], pair[1]): said for pair, said in current.items()}

    def _ask(self, imported: ImportedVote) -> None:
        """Want a comparison to be judged here, unless there is one."""
        if imported.key not in self.orders:
            self._want(imported)
            self.open.add(imported.key)
        elif imported.is_reported:
            known = self.known.get(imported.key)
            row_id = 0 if known is None else known.id
            self.tally.repeat("comparisons", imported.line, row_id, is_new=known is None)

    def _want(self, imported: ImportedVote) -> None:
        self.wanted[imported.key] = imported
        ids = imported.completion_ids
        order = comparisons.canonical_order(self.project.split_seed, imported.key, len(ids))
        self.orders[imported.key] = tuple(ids[at] for at in order)

    def _is_merged(self, imported: ImportedVote, vote: VoteRecord, labeler_id: int) -> bool:
        """Return whether an earlier import stored this vote on completions merged by their text."""
        key = imported.merged_key
        before = self.judged.get((key, labeler_id)) if key else None
        if key is None or before is None or imported.key in self.orders:
            return False
        said = imported_judgments.said(
            imported.kind, vote, _places(self.orders[key], imported.merged_ids)
        )
        if imported_judgments.difference(before, said) is not None:
            return False
        self._repeat(imported, before, said)
        return True

    def _repeat(self, imported: ImportedVote, before: Said, said: Said) -> None:
        is_new = before.id is None
        self.tally.repeat("judgments", imported.line, before.id or 0, is_new=is_new)
        if before.id is not None and before.margin is None and said.margin is not None:
            self.margins[before.id] = said.margin

    def _new_comparison(self, key: str, first: ImportedVote) -> NewComparison:
        votes = len(self.new.get(key, ()))
        return NewComparison(
            first.prompt_id,
            self.orders[key],
            first.kind,
            key,
            overlap=max(votes, self.project.overlap if key in self.open else 0),
            priority=BEHIND_ROUNDS,
            done=votes,
        )


def _on_own_scales(
    session: Session, project: Project, votes: Sequence[ImportedVote], tally: ImportTally
) -> Sequence[ImportedVote]:
    """Add the criteria that votes name, and keep ratings on other scales than the project's apart.

    A lead may activate the criteria.
    """
    rated = {
        (name, imported.scales.get(name)): imported.weights.get(name, 1.0)
        for imported in votes
        if imported.vote is not None
        for name in imported.vote.ratings or ()
    }
    if not rated:
        return votes
    names = criteria.note(session, project, rated)
    for (name, scale), stored in names.items():
        if stored != name and scale is not None:
            tally.remark(
                f"Ratings on “{name}” are kept as “{stored}”, because the file rates from "
                f"{scale[0]} to {scale[1]} and the project’s “{name}” has another scale."
            )
    return [
        replace(imported, vote=_renamed(imported.vote, imported.scales, names))
        if imported.vote is not None and imported.vote.ratings
        else imported
        for imported in votes
    ]


def _renamed(
    vote: VoteRecord,
    scales: Mapping[str, tuple[int, int]],
    names: Mapping[tuple[str, tuple[int, int] | None], str],
) -> VoteRecord:
    ratings = (vote.ratings or {}).items()
    return replace(vote, ratings={names[name, scales.get(name)]: given for name, given in ratings})


def natural_key(kind: JudgmentKind, prompt_id: int, completion_ids: Sequence[int]) -> str:
    """Return the natural key of the comparison of these completions, in any order."""
    listed = ",".join(map(str, sorted(completion_ids)))
    return f"import-{kind}-{prompt_id}-{hashlib.sha256(listed.encode()).hexdigest()[:32]}"


def _places(order: Sequence[int], completion_ids: Sequence[int]) -> list[int]:
    return [completion_ids.index(completion_id) for completion_id in order]


def _ordering(completion_ids: Sequence[int]) -> JudgmentKind:
    return JudgmentKind.PICK if len(completion_ids) == 2 else JudgmentKind.RANK
