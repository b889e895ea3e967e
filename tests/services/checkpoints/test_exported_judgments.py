"""From a model to the judgments of its exports and back, across the blocks they are kept in."""

import pytest
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.id_set import BLOCK, IdSet
from app.models import Checkpoint, CheckpointKind, Export, Project, User
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.datasets import exports
from tests.services import sample_votes

BESIDE = BLOCK + 1  # the place of the first judgment, in the next block


def judge(session: Session, project: Project, labeler: User, id: int) -> None:
    comparison = sample_votes.make_comparison(session, project)
    vote = sample_votes.vote(session, comparison, labeler, version=id, preferred="a")
    vote.id = id
    session.flush()


def train(session: Session, project: Project, *exported: list[int]) -> Checkpoint:
    """Make a model of exports with these judgments."""
    ids = []
    for judgment_ids in exported:
        export = Export(
            project_id=project.id,
            number=len(exports.of_project(session, project.id)) + 1,
            format="training",
            options={},
            created_at=now(session),
        )
        session.add(export)
        session.flush()
        exports.link(session, export, IdSet(judgment_ids))
        ids.append(export.id)
    return checkpoints.create(
        session,
        project_id=project.id,
        kind=CheckpointKind.REWARD,
        written=CheckpointFiles("uri", "0" * 64, {}, {}),
        export_ids=ids,
    )


@pytest.fixture
def project(any_database: Database) -> Project:
    with any_database.transaction() as session:
        project, people = sample_votes.make_project(session)
        for id, labeler in ((1, 0), (2, 1), (BESIDE, 0), (BESIDE + 1, 2), (3 * BLOCK - 1, 2)):
            judge(session, project, people[labeler], id)
    return project


def test_a_model_knows_its_judgments(any_database: Database, project: Project) -> None:
    with any_database.transaction() as session:
        model = train(session, project, [1, BESIDE], [BESIDE, 3 * BLOCK - 1])
        lineage = checkpoints.lineage(session, model)
        pages = [
            [vote.id for vote in checkpoints.judgments(session, model.id, after=after, limit=2)]
            for after in (0, BESIDE, 3 * BLOCK - 1)
        ]
    assert (lineage.judgments, lineage.labelers) == (3, 2)
    assert lineage.guidelines_versions == (1, BESIDE, 3 * BLOCK - 1)
    assert pages == [[1, BESIDE], [3 * BLOCK - 1], []]


def test_a_judgment_knows_its_models(any_database: Database, project: Project) -> None:
    with any_database.transaction() as session:
        first = train(session, project, [1, 2])
        second = train(session, project, [2, BESIDE])
        models = {
            id: [model.id for model in checkpoints.trained_on(session, id)]
            for id in (1, 2, BESIDE, BESIDE + 1)
        }
    assert models == {1: [first.id], 2: [first.id, second.id], BESIDE: [second.id], BESIDE + 1: []}
