"""Which judgments are in an export survives the step from links to blocks, and back."""

from sqlalchemy import select, text

from app.db import Database, now, schema
from app.models import Export
from app.services.datasets import exports
from tests.services import sample_votes

BEFORE = "93d1f0b7ce28"
SECOND_BLOCK = 1030


def test_links_become_blocks_and_links_again(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, people = sample_votes.make_project(session)
        comparison = sample_votes.make_comparison(session, project)
        ids = [sample_votes.vote(session, comparison, people[0], preferred="a").id]
        comparison = sample_votes.make_comparison(session, project)
        vote = sample_votes.vote(session, comparison, people[0], preferred="a")
        ids.append(SECOND_BLOCK)
        vote.id = SECOND_BLOCK
        for number in (1, 2):
            session.add(
                Export(
                    project_id=project.id,
                    number=number,
                    format="rich",
                    options={},
                    created_at=now(session),
                )
            )
    links = [(1, ids[0]), (1, SECOND_BLOCK), (2, SECOND_BLOCK)]
    schema.downgrade(any_database.engine, BEFORE)
    with any_database.engine.begin() as connection:
        for export_id, judgment_id in links:
            connection.execute(
                text("INSERT INTO export_judgment (export_id, judgment_id) VALUES (:e, :j)"),
                {"e": export_id, "j": judgment_id},
            )
    schema.upgrade(any_database.engine)
    with any_database.reader() as session:
        by_export = {
            id: list(exports.judgments(session, id)) for id in session.scalars(select(Export.id))
        }
    assert by_export == {1: ids, 2: [SECOND_BLOCK]}
    schema.downgrade(any_database.engine, BEFORE)
    with any_database.engine.connect() as connection:
        rows = connection.execute(text("SELECT export_id, judgment_id FROM export_judgment"))
        assert sorted(map(tuple, rows)) == links
