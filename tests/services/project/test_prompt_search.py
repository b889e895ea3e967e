"""Prompts found by what they say, their split, source, category and tags, a page at a time."""

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.db.keyset import NEWEST_FIRST, ListOrder
from app.models import Project, Prompt
from app.services.project import prompt_labels, prompt_search, prompts
from app.services.project.prompt_search import NO_CATEGORY, PromptFilter, page
from app.services.project.prompts import NewPrompt, StoredRow
from tests.services.sample_votes import make_project


def asked(text: str, **meta: object) -> NewPrompt:
    return NewPrompt((("user", text),), source=str(meta.pop("source", "")), meta=meta)


def stored(session: Session, project: Project, *given: NewPrompt) -> tuple[Prompt, ...]:
    added = prompts.add(session, project, given).prompts
    prompt_labels.keep(
        session,
        project.id,
        [
            (StoredRow(row.id, is_new=True), one.labels)
            for row, one in zip(added, given, strict=True)
        ],
    )
    return added


def texts(session: Session, project: Project, selection: PromptFilter) -> list[str]:
    return [row.prompt.messages[0]["content"] for row in page(session, project.id, selection).rows]


@pytest.mark.parametrize("search", ["öffnet", 'the "door"', "100%", "back\\slash"])
def test_search_finds_what_is_written(any_database: Database, search: str) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        prompts.add(session, project, [asked(f"When … {search} … ?"), asked("Something else")])
        found = page(session, project.id, PromptFilter(search=search)).rows
        assert [row.prompt.messages[0]["content"] for row in found] == [f"When … {search} … ?"]


def test_pages_meet_without_gap_or_overlap(session: Session) -> None:
    project, _ = make_project(session)
    prompts.add(session, project, [asked(f"Question {n}") for n in range(7)])
    seen: list[int] = []
    order: ListOrder | None = NEWEST_FIRST
    while order is not None:
        found = page(session, project.id, order=order, limit=3)
        seen += [row.prompt.id for row in found.rows]
        order = found.next
    assert len(seen) == len(set(seen)) == 7


def test_each_filter_selects_and_all_of_them_together(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        other, _ = make_project(session)
        stored(session, other, asked("elsewhere", category="math", tags="hard", source="a"))
        stored(
            session,
            project,
            asked("sum", category="math", tags=["hard", "short"], source="a"),
            asked("proof", category="math", source="b"),
            asked("poem", category="writing", tags="short, rhyme", source="a"),
            asked("plain"),
        )
        selected = {
            name: texts(session, project, selection)
            for name, selection in {
                "category": PromptFilter(category="math"),
                "none": PromptFilter(category=NO_CATEGORY),
                "tag": PromptFilter(tag="short"),
                "source": PromptFilter(source="b"),
                "together": PromptFilter(category="math", tag="hard", source="a", search="su"),
                "nothing": PromptFilter(category="math", tag="rhyme"),
            }.items()
        }
        counted = prompt_search.count(session, project.id, PromptFilter(category="math"))
        listed = page(session, project.id, PromptFilter(search="sum")).rows
    assert selected == {
        "category": ["proof", "sum"],
        "none": ["plain"],
        "tag": ["poem", "sum"],
        "source": ["proof"],
        "together": ["sum"],
        "nothing": [],
    }
    assert counted == 2
    assert [row.tags for row in listed] == [("hard", "short")]


def test_names_to_filter_by_are_those_of_the_project(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        other, _ = make_project(session)
        assert prompt_search.categories(session, project.id) == []
        stored(session, other, asked("elsewhere", category="law", tags="old", source="c"))
        stored(
            session,
            project,
            asked("one", category="writing", tags="x, y", source="b"),
            asked("two", category="math", tags="y", source="a"),
            asked("three", category="math"),
        )
        assert prompt_search.categories(session, project.id) == ["math", "writing"]
        assert prompt_search.tags(session, project.id) == ["x", "y"]
        assert prompt_search.sources(session, project.id) == ["a", "b"]
