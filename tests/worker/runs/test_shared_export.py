"""Exports that several workers write: the same bytes and the same account as one worker's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database
from app.domain import shard_sizes
from app.domain.states import JobState
from app.models import Export, ExportedJudgments, Project, Shard
from app.services.datasets import exports, preferences
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.jobs import job_leases, shards
from tests.services import sample_votes
from tests.worker.runs import small, test_shared_draws
from worker.runs import export, help, shared_export
from worker.runs.process import shard_work

COMPARISONS = 17


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share what takes milliseconds, three comparisons at a time."""
    monkeypatch.setattr(preferences, "FIRST_PAGE", 2)
    monkeypatch.setattr(shared_export, "CHUNK", 3)
    monkeypatch.setattr(shard_sizes, "START_S", -100.0)
    monkeypatch.setattr(shard_work, "WAIT_S", 0.01)


def judged(database: Database, comparisons: int) -> Project:
    """Make a project whose comparisons have none to three votes; some are ties or withdrawn."""
    with database.transaction() as session:
        project, people = sample_votes.make_project(session, 3)
        for number in range(comparisons):
            comparison = sample_votes.make_comparison(session, project)
            for labeler in people[: number % 4]:
                side = "ab"[(number + labeler.id) % 2] if number % 5 else "tie"
                sample_votes.vote(session, comparison, labeler, preferred=side)
            comparison.is_withdrawn = number % 6 == 0
        return project


@pytest.fixture
def project(any_database: Database) -> Project:
    return judged(any_database, COMPARISONS)


def order(database: Database, project: Project, format: str, **options: Any) -> int:
    with database.transaction() as session:
        return exports.create(
            session,
            session.get_one(Project, project.id),
            format=format,
            options=ExportOptions(**options),
            created_by_id=None,
        ).id


def frozen(database: Database, export_id: int) -> tuple[str, int, Mapping[str, Any], set[bytes]]:
    with database.reader() as session:
        row = session.get_one(Export, export_id)
        of_export = ExportedJudgments.export_id == export_id
        blocks = set(session.scalars(select(ExportedJudgments.members).where(of_export)))
        manifest = {key: row.manifest[key] for key in row.manifest if key != "title"}
        return row.sha256, row.rows, manifest, blocks


@pytest.mark.parametrize("format", ["rich", "trl-explicit", "unpaired"])
@pytest.mark.parametrize("helps", [True, False])
def test_parts_make_the_file_that_one_worker_writes(
    project: Project,
    any_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
    helps: bool,
) -> None:
    first = order(any_database, project, format)
    small.run_jobs(any_database, tmp_path)
    test_shared_draws.two_workers(any_database)
    share = shard_work.share

    def interlude(*args: Any) -> None:
        share(*args)
        if helps:
            help.run(test_shared_draws.claim_helper(any_database, tmp_path))

    monkeypatch.setattr(shard_work, "share", interlude)
    second = order(any_database, project, format)
    export.run(small.claimed(any_database, tmp_path))
    assert frozen(any_database, second) == frozen(any_database, first)
    with any_database.reader() as session:
        workers = list(session.scalars(select(Shard.worker)))
    assert workers == [test_shared_draws.OTHER if helps else "here"] * 5
    left = [path for path in (tmp_path / "artifacts").rglob("*") if "export-parts" in str(path)]
    assert [path for path in left if path.is_file()] == []


def test_an_attempt_that_starts_over_shares_its_parts_anew(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = order(any_database, project, "rich")
    small.run_jobs(any_database, tmp_path)
    test_shared_draws.two_workers(any_database)
    second = order(any_database, project, "rich")
    context = small.claimed(any_database, tmp_path)
    take = shard_work.take
    taken: list[object] = []

    def take_two(*args: Any) -> Any:
        if len(taken) == 2:
            raise _Killed
        taken.append(None)
        return take(*args)

    with monkeypatch.context() as patch:
        patch.setattr(shard_work, "take", take_two)
        with pytest.raises(_Killed):
            export.run(context)
    with any_database.transaction() as session:
        job_leases.died(session, context.job_id, context.lease_token, "killed")
    context = small.claimed(any_database, tmp_path)
    export.run(context)
    assert frozen(any_database, second) == frozen(any_database, first)
    with any_database.reader() as session:
        ended = [shard.ended_at is not None for shard in session.scalars(select(Shard))]
        helpers = shards.helpers_of(session, context.job_id)
    assert ended == [True] * (2 + 5)
    assert {helper.state for helper in helpers} == {JobState.CANCELLED}


def test_demonstrations_are_not_shared_because_each_is_told_apart_from_those_before(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "finish", lambda *_args: None)  # there are none to write
    test_shared_draws.two_workers(any_database)
    order(any_database, project, "demonstrations")
    export.run(small.claimed(any_database, tmp_path))
    assert test_shared_draws.shards_of(any_database) == []


class _Killed(BaseException):
    """Stands for a kill within this process."""
