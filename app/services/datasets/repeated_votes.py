"""Votes without a labeler's name that an earlier file's unnamed labelers gave before.

A file that was corrected or extended holds the votes of the same people again. Were they taken for
others, each vote would count twice, and the two would seem to agree. The first rows of a file show
whose judgments they repeat. Which votes are whose within a file is up to `unnamed_votes`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import bulk
from app.formats import unnamed_votes
from app.models import Judgment, Project, Prompt, User
from app.services.datasets import (
    imported_completions,
    imported_judgments,
    imported_labelers,
    imported_records,
    imported_votes,
)
from app.services.datasets.imported_judgments import Said
from app.services.datasets.imported_records import Outcome
from app.services.datasets.imported_votes import ImportedVote
from app.services.queue import comparison_batches

SAMPLE = 500
"""The number of rows that are compared with earlier judgments."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Whose judgments the first votes of a file repeat, and whether they count as the same people.

    `tag` identifies the earlier file's labelers; None means that the votes have labelers of their
    own. `remark` says so, or is empty if there is nothing to say.
    """

    tag: str | None = None
    remark: str = ""


@dataclass(slots=True)
class _Matches:
    """How the votes compare with the judgments of one earlier file's unnamed labelers."""

    repeated: int = 0
    contradicted: int = 0
    prompt_ids: list[int] = field(default_factory=list)


def find(
    session: Session,
    project: Project,
    outcomes: Iterable[Outcome],
    same_labelers: bool | None = None,
) -> Repeats:
    """Decide whether the unnamed labelers of a file are those of an earlier one.

    They are if at least half of the first votes repeat judgments and none contradicts one, unless
    ``same_labelers`` says it. Reads only.
    """
    if same_labelers is False:
        return Repeats()
    sample = list(islice(outcomes, SAMPLE))
    total, votes = _unnamed(session, project, sample)
    if not total:
        return Repeats()
    own = next((tag for _, _, tag in votes), None)
    matches = _matches(session, project, votes)
    if own in matches and same_labelers is None:
        return Repeats()  # this file was imported before, under a name of its own
    tags = [tag for tag in matches if tag != own and matches[tag].repeated]
    if not tags:
        missing = "No vote without a labeler’s name repeats a judgment of an earlier file"
        return Repeats(None, f"{missing}; they have labelers of their own." * bool(same_labelers))
    best = max(tags, key=lambda tag: (matches[tag].repeated, -matches[tag].contradicted))
    found = matches[best]
    is_same = bool(same_labelers) or (not found.contradicted and found.repeated * 2 >= total)
    return Repeats(best if is_same else None, _said(session, found, total, is_same=is_same))


def _said(session: Session, found: _Matches, total: int, *, is_same: bool) -> str:
    sources = session.scalars(
        select(Prompt.source).where(bulk.among(session, Prompt.id, found.prompt_ids))
    )
    ((source, _),) = Counter(sources).most_common(1)
    against = f", and {found.contradicted:,} contradict them" if found.contradicted else ""
    # The first votes stand for the file.
    seen = (
        f"{found.repeated:,} of {total:,} votes without a labeler’s name repeat judgments of an "
        f"earlier file, whose prompts came from “{source}”{against}"
    )
    if is_same:
        return (
            f"{seen}: they count as votes of the same labelers. If other people gave them, import "
            "the file as votes of other labelers."
        )
    return (
        f"{seen}: they count as votes of other labelers. If the same people gave them, import the "
        "file as votes of the same labelers; votes that contradict are then rejected."
    )


def _unnamed(
    session: Session, project: Project, sample: Iterable[Outcome]
) -> tuple[int, list[tuple[ImportedVote, str, str]]]:
    """Return the number of unnamed votes, and those on stored completions with number and tag."""
    prepared = imported_records.prepare(list(sample), "")
    query = select(Prompt.content_hash, Prompt.id).where(
        Prompt.project_id == project.id,
        bulk.among(session, Prompt.content_hash, [each.content_hash for each in prepared.prompts]),
    )
    prompt_ids: Mapping[str, int] = {row[0]: row[1] for row in session.execute(query)}
    total = 0
    known = []
    for numbered, prompt in zip(prepared.accepted, prepared.prompts, strict=True):
        texts = imported_records.candidates(numbered.record)
        total += _count(numbered.record)
        if texts and prompt.content_hash in prompt_ids:
            known.append((numbered, prompt_ids[prompt.content_hash], texts))
    ids = iter(
        imported_completions.find(
            session, [(prompt_id, text) for _, prompt_id, texts in known for text in texts]
        )
    )
    votes = []
    for numbered, prompt_id, texts in known:
        stored = [next(ids) for _ in texts]
        whole = [completion for completion in stored if completion is not None]
        if len(whole) == len(stored):
            given = imported_votes.of_record(numbered.line, numbered.record, prompt_id, whole)
            votes += [(vote, *name) for vote in given if (name := _name(vote))]
    return total, votes


def _count(record: object) -> int:
    names = [getattr(record, "labeler", None)]
    names += [vote.labeler for vote in getattr(record, "votes", ())]
    return sum(unnamed_votes.parts(name or "") is not None for name in names)


def _name(vote: ImportedVote) -> tuple[str, str] | None:
    return None if vote.vote is None else unnamed_votes.parts(vote.vote.labeler)


def _matches(
    session: Session, project: Project, votes: list[tuple[ImportedVote, str, str]]
) -> dict[str, _Matches]:
    """Compare the votes with the judgments of unnamed labelers, by the tag of their file."""
    known = comparison_batches.by_natural_key(
        session, project.id, {vote.key for vote, _, _ in votes}
    )
    judged = _judged(session, [comparison.id for comparison in known.values()])
    matches: dict[str, _Matches] = defaultdict(_Matches)
    for imported, number, _ in votes:
        comparison = known.get(imported.key)
        if comparison is None or imported.vote is None:
            continue
        places = [imported.completion_ids.index(each) for each in comparison.completion_ids]
        said = imported_judgments.said(imported.kind, imported.vote, places)
        for tag, before in judged.get((comparison.id, number), ()):
            if imported_judgments.difference(before, said) is None:
                matches[tag].repeated += 1
                matches[tag].prompt_ids.append(imported.prompt_id)
            else:
                matches[tag].contradicted += 1
    return dict(matches)


def _judged(
    session: Session, comparison_ids: list[int]
) -> dict[tuple[int, str], list[tuple[str, Said]]]:
    """Return what unnamed labelers said, by comparison and the number in their name."""
    if not comparison_ids:
        return {}
    query = (
        select(Judgment.comparison_id, Judgment.labeler_id, User.name)
        .join(User, User.id == Judgment.labeler_id)
        .where(
            bulk.among(session, Judgment.comparison_id, comparison_ids),
            Judgment.is_current,
            User.email.endswith(f"@{imported_labelers.DOMAIN}"),
        )
    )
    names = {
        (row[0], row[1]): name
        for row in session.execute(query)
        if (name := unnamed_votes.parts(row[2]))
    }
    judged: dict[tuple[int, str], list[tuple[str, Said]]] = defaultdict(list)
    for pair, said in imported_judgments.current(session, names).items():
        number, tag = names[pair]
        judged[pair[0], number].append((tag, said))
    return judged
