"""Many rows at once: values pass as they are, however they are written."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, select, text

from app.db import Database, bulk
from app.models import Completion, Export, ExportedJudgments, Prompt, PromptTag
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from tests.services import sample

AWKWARD = [
    'a "quoted" part',
    "a \\ backslash",
    "{braces, commas}",
    "NULL",
    " spaces ",
    "日本",
    "it's",
    '\\"both',
]


def test_any_text_is_found_among_many(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        for n, key in enumerate(AWKWARD):
            prompts.add(session, project, [NewPrompt((("user", f"{n}?"),), source_key=key)])
        one_of = bulk.among(session, Prompt.source_key, [*AWKWARD[1:], "not there"])
        query = select(Prompt.source_key).where(Prompt.project_id == project.id, one_of)
        assert sorted(session.scalars(query)) == sorted(AWKWARD[1:])
        place = (Prompt.project_id, Prompt.source_key)
        pairs = [(project.id, key) for key in AWKWARD]
        found = session.execute(bulk.with_pairs(session, *place, pairs, (Prompt.source_key,)))
        assert sorted(key for (key,) in found) == sorted(AWKWARD)


def test_nothing_is_found_among_none(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        prompts.add(session, project, [NewPrompt((("user", "Q"),))])
        for of in (Prompt.id, Prompt.source_key):
            assert session.scalars(select(Prompt.id).where(bulk.among(session, of, []))).all() == []


def test_equal_values_of_json_are_each_written_as_they_are(any_database: Database) -> None:
    notes: list[dict[str, object]] = [{"n": [1]}, {"n": [True]}, {"n": [1.0]}]
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    with any_database.transaction() as session:
        project = sample.make_project(session)
        ids = bulk.reserve_ids(session, Prompt, len(notes))
        columns = (
            *("id", "project_id", "messages", "follow_up", "split", "content_hash", "group_hash"),
            *("is_evaluation", "source", "source_key", "category", "meta", "created_at"),
        )
        rows: list[tuple[object, ...]] = [
            (of, project.id, [], [], "train", str(of), "", at == 1, "", "", "", note, moment)
            for at, (of, note) in enumerate(zip(ids, notes, strict=True))
        ]
        bulk.insert(session, Prompt, columns, rows)
    with any_database.reader() as session:
        stored = session.scalars(select(Prompt).order_by(Prompt.id)).all()
        assert [repr(prompt.meta) for prompt in stored] == [repr(note) for note in notes]
        assert [prompt.is_evaluation for prompt in stored] == [False, True, False]
        assert {prompt.created_at for prompt in stored} == {moment}


def test_every_character_is_stored_as_it_is(any_database: Database) -> None:
    texts = [*AWKWARD, "tab\tline\nreturn\r", "\\N", "\\.", "\\t", "", "last\\"]
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    columns = (
        *("id", "project_id", "prompt_id", "checkpoint_id", "source", "source_key", "earlier"),
        *("sample_index", "text", "is_finished", "finish_reason", "logprob_sum", "sampling"),
        "created_at",
    )
    with any_database.transaction() as session:
        project = sample.make_project(session)
        prompt = prompts.add(session, project, [NewPrompt((("user", "Q"),))]).prompts[0]
        ids = bulk.reserve_ids(session, Completion, len(texts))
        rows: list[tuple[object, ...]] = [
            (
                *(of, project.id, prompt.id, None, text, str(at), [{"role": text}], 0, text),
                *(at % 2 == 0, "", at / 3 if at else None, {text: at}, moment),
            )
            for at, (of, text) in enumerate(zip(ids, texts, strict=True))
        ]
        bulk.insert(session, Completion, columns, rows)
    with any_database.reader() as session:
        stored = session.scalars(select(Completion).order_by(Completion.id)).all()
        assert [row.text for row in stored] == [row.source for row in stored] == texts
        assert [row.earlier for row in stored] == [[{"role": text}] for text in texts]
        assert [row.sampling for row in stored] == [{text: n} for n, text in enumerate(texts)]
        assert [row.is_finished for row in stored] == [n % 2 == 0 for n in range(len(texts))]
        assert [row.logprob_sum for row in stored] == [None, *(n / 3 for n in range(1, len(texts)))]
        assert {row.checkpoint_id for row in stored} == {None}


def test_nothing_is_inserted_for_no_rows(any_database: Database) -> None:
    with any_database.transaction() as session:
        bulk.insert(session, PromptTag, ("prompt_id", "tag", "project_id"), [])
        assert session.scalars(select(PromptTag)).all() == []


def test_ids_are_new_and_ascend(any_database: Database) -> None:
    with any_database.transaction() as session:
        first, second = bulk.reserve_ids(session, Prompt, 5), bulk.reserve_ids(session, Prompt, 0)
        assert first == sorted(set(first))
        assert (len(first), second) == (5, [])


@pytest.mark.services
def test_only_the_transaction_that_asks_is_not_waited_for(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=1)
    for asks, expected in ((True, "off"), (False, "on")):
        with database.transaction() as session:
            if asks:
                bulk.commit_soon(session)
            assert session.scalar(text("SHOW synchronous_commit")) == expected
    database.dispose()


@pytest.mark.services
def test_words_are_not_counted_in_passing(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.transaction() as session:
        project = sample.make_project(session)
        prompts.add(session, project, [NewPrompt((("user", f"Q {n}"),)) for n in range(50)])
        bulk.analyze(session, Prompt, PromptTag)
        query = text(
            "SELECT tablename, attname FROM pg_stats WHERE schemaname = current_schema() "
            "AND tablename IN ('prompt', 'ix_prompt_words')"
        )
        counted = {(row.tablename, row.attname) for row in session.execute(query)}
        assert {("prompt", "project_id"), ("prompt", "content_hash")} <= counted
        assert ("prompt", "messages") not in counted
        assert {table for table, _ in counted} == {"prompt"}
    database.dispose()


def test_bytes_are_written_as_they_are(any_database: Database) -> None:
    parts = [bytes(range(256)), b"", b"\\N\t\n"]
    with any_database.transaction() as session:
        project = sample.make_project(session)
        export = Export(
            project_id=project.id,
            number=1,
            format="trl-explicit",
            options={},
            state="ready",
            rows=0,
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
        )
        session.add(export)
        session.flush()
        rows = [(export.id, block, part) for block, part in enumerate(parts)]
        bulk.insert(session, ExportedJudgments, ("export_id", "block", "members"), rows)
        stored = select(ExportedJudgments.members).order_by(ExportedJudgments.block)
        assert session.scalars(stored).all() == parts


@pytest.mark.services
def test_tables_are_counted_once_they_have_rows_and_again_once_they_have_grown(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    statements: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    def analyzed(numbers: range) -> list[str]:
        statements.clear()
        more = [NewPrompt((("user", f"{number} {40 * 'x'}"),)) for number in numbers]
        with database.transaction() as session:
            prompts.store(session, project, more)
        with database.transaction() as session:
            bulk.analyze(session, Prompt, Completion)
        counting = "".join(each for each in statements if each.startswith("ANALYZE"))
        return re.findall(r'"(\w+)" \(', counting)

    with database.transaction() as session:
        project = sample.make_project(session)
    assert analyzed(range(300)) == ["prompt"]
    assert analyzed(range(300, 301)) == []
    assert analyzed(range(301, 700)) == ["prompt"]
    database.dispose()
