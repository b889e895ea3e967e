"""Imported texts whose words are indexed later: not found until then, and found exactly once."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain import search_words
from app.models import Comparison, Completion, Project, Prompt, UnindexedTexts
from app.services.datasets import imports
from app.services.project import prompts, word_backlog, word_index
from app.services.project.prompts import NewPrompt
from tests.services.sample import make_project

FILE = b"".join(
    b'{"prompt": "apple %d", "chosen": "pear %d", "rejected": "plum %d"}\n' % (n, n, n)
    for n in range(5)
)


def found(session: Session, project: Project, model: word_index.Searched, word: str) -> list[int]:
    terms = search_words.parse(word)
    return sorted(session.scalars(word_index.select_ids(session, model, project.id, terms)))


def stored(database: Database) -> Project:
    with database.transaction() as session:
        project = make_project(session)
    imports.run_in_batches(
        database.transaction, project.id, io.BytesIO(FILE), filename="f.jsonl", words_later=True
    )
    return project


def test_texts_are_found_once_the_backlog_is_worked_off(any_database: Database) -> None:
    project = stored(any_database)
    with any_database.transaction() as session:
        assert word_backlog.waiting(session, project.id) == 15
        assert word_backlog.waiting(session, project.id + 1) == 0
        assert found(session, project, Prompt, "apple") == []
        assert word_backlog.index_some(session, most=3) == 3
        first = list(session.scalars(select(Prompt.id).order_by(Prompt.id).limit(3)))
        assert found(session, project, Prompt, "apple") == first
    assert sum(imports.index_words(any_database.transaction)) == 12
    with any_database.reader() as session:
        assert word_backlog.waiting(session, project.id) == 0
        for model, word in ((Prompt, "apple"), (Completion, "plum")):
            assert len(found(session, project, model, word)) == 5
            assert len(found(session, project, model, f'"{word} 3"')) == 1
        assert session.scalars(select(UnindexedTexts)).all() == []


def test_what_is_changed_deleted_or_added_meanwhile_is_found_as_it_is(
    any_database: Database,
) -> None:
    project = stored(any_database)
    with any_database.transaction() as session:
        changed, deleted, *_ = session.scalars(select(Prompt).order_by(Prompt.id)).all()
        changed.messages = [{"role": "user", "content": "cherry"}]
        for model in (Comparison, Completion):
            assert session.scalar(select(model.id).limit(1))
        lone = prompts.add(session, project, [NewPrompt((("user", "apple of my own"),))]).prompts[0]
        session.flush()
        assert found(session, project, Prompt, "apple") == [lone.id]
    for _ in imports.index_words(any_database.transaction):
        pass
    with any_database.reader() as session:
        assert found(session, project, Prompt, "cherry") == [changed.id]
        assert len(found(session, project, Prompt, "apple")) == 5
        assert changed.id not in found(session, project, Prompt, "apple")
        assert deleted.id in found(session, project, Prompt, "apple")


def test_an_import_in_a_request_is_found_at_once(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = make_project(session)
        imports.run(session, project, io.BytesIO(FILE), filename="f.jsonl")
        assert len(found(session, project, Prompt, "apple")) == 5
        assert word_backlog.waiting(session, project.id) == 0


def test_a_piece_that_is_not_committed_waits_again(any_database: Database) -> None:
    project = stored(any_database)

    @contextmanager
    def lost() -> Iterator[Session]:
        with any_database.transaction() as session:
            yield session
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(imports.index_words(lost))
    with any_database.reader() as session:
        assert word_backlog.waiting(session, project.id) == 15
        assert found(session, project, Prompt, "apple") == []
