"""Categories and tags: kept from files, set on many prompts, undone exactly, in the audit log."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.prompt_labels import PromptLabels
from app.errors import Conflict, Invalid, NotFound
from app.models import AuditEvent, Project, Prompt
from app.services.project import prompt_labels, prompt_search, prompts
from app.services.project.prompt_labels import EditedPrompts, LabelAction, PromptSelection
from app.services.project.prompt_search import PromptFilter
from app.services.project.prompts import NewPrompt, StoredRow
from tests.services.sample_votes import make_project

ALL = PromptSelection()


def made(session: Session, project: Project, *texts: str) -> list[Prompt]:
    given = [NewPrompt((("user", text),)) for text in texts]
    return list(prompts.add(session, project, given).prompts)


def edited(
    session: Session, project: Project, action: LabelAction, value: str, *texts: str
) -> EditedPrompts:
    """Edit the prompts with these texts, or all."""
    selection = PromptSelection(PromptFilter(search=texts[0])) if texts else ALL
    return prompt_labels.edit(session, project, selection, action, value, actor_id=None)


def tagged(session: Session, project: Project, tag: str) -> list[str]:
    found = prompt_search.page(session, project.id, PromptFilter(tag=tag)).rows
    return sorted(row.prompt.messages[0]["content"] for row in found)


def categories(session: Session, rows: list[Prompt]) -> list[str]:
    session.expire_all()
    return [session.get_one(Prompt, row.id).category for row in rows]


def test_a_tag_is_set_on_what_a_filter_selects_and_undone_only_there(
    any_database: Database,
) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        other, _ = make_project(session)
        made(session, other, "add 1 and 1")
        made(session, project, "add 2 and 2", "add 3 and 3", "a poem")
        edited(session, project, LabelAction.TAG, "math", "add 2")
        more = edited(session, project, LabelAction.TAG, "math", "add")
        assert (more.selected, more.changed) == (2, 1)
        assert prompt_labels.outcome(more) == "1 prompt tagged “math”. 1 were so already."
        assert tagged(session, project, "math") == ["add 2 and 2", "add 3 and 3"]
        assert tagged(session, other, "math") == []
        assert more.edit is not None
        undone = prompt_labels.undo(session, project, more.edit.id, actor_id=None)
        assert (undone.restored, undone.left) == (1, 0)
        assert tagged(session, project, "math") == ["add 2 and 2"]


def test_a_removed_tag_comes_back_to_those_that_had_it(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        made(session, project, "add 2", "add 3", "a poem")
        edited(session, project, LabelAction.TAG, "math", "add")
        removed = edited(session, project, LabelAction.UNTAG, "math")
        assert (removed.selected, removed.changed) == (3, 2)
        assert tagged(session, project, "math") == []
        assert removed.edit is not None
        prompt_labels.undo(session, project, removed.edit.id, actor_id=None)
        assert tagged(session, project, "math") == ["add 2", "add 3"]


def test_undoing_a_category_restores_each_one_and_leaves_later_changes(
    any_database: Database,
) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        rows = made(session, project, "one", "two", "three")
        edited(session, project, LabelAction.CATEGORIZE, "old", "one")
        all_new = edited(session, project, LabelAction.CATEGORIZE, "new")
        edited(session, project, LabelAction.CATEGORIZE, "newest", "three")
        assert categories(session, rows) == ["new", "new", "newest"]
        assert all_new.edit is not None
        undone = prompt_labels.undo(session, project, all_new.edit.id, actor_id=None)
        assert (undone.restored, undone.left) == (2, 1)
        assert categories(session, rows) == ["old", "", "newest"]
        assert "1 prompt changed since" in prompt_labels.restored(undone)


def test_an_edit_is_undone_once_and_only_in_its_project(session: Session) -> None:
    project, _ = make_project(session)
    other, _ = make_project(session)
    made(session, project, "one")
    done = edited(session, project, LabelAction.TAG, "x").edit
    assert done is not None
    with pytest.raises(NotFound):
        prompt_labels.undo(session, other, done.id, actor_id=None)
    prompt_labels.undo(session, project, done.id, actor_id=None)
    with pytest.raises(Conflict, match="undone before"):
        prompt_labels.undo(session, project, done.id, actor_id=None)


def test_an_edit_and_its_undoing_are_in_the_audit_log(session: Session) -> None:
    project, _ = make_project(session)
    made(session, project, "one", "two")
    done = edited(session, project, LabelAction.TAG, "x", "one").edit
    assert done is not None
    prompt_labels.undo(session, project, done.id, actor_id=None)
    query = select(AuditEvent).where(AuditEvent.action.like("prompts.%")).order_by(AuditEvent.id)
    events = list(session.scalars(query))
    assert [(event.action, event.subject) for event in events] == [
        ("prompts.tag", "1 prompt tagged “x”"),
        ("prompts.undo", "1 prompt tagged “x”"),
    ]
    assert events[0].details == {"edit": done.id, "value": "x", "prompts": 1, "search": "one"}
    assert events[1].details["restored"] == 1


def test_what_changes_nothing_is_no_edit(session: Session) -> None:
    project, _ = make_project(session)
    made(session, project, "one")
    nothing = edited(session, project, LabelAction.UNTAG, "x")
    assert nothing.edit is None
    assert prompt_labels.edits(session, project.id) == []
    assert "Nothing was changed: 1 prompt selected" in prompt_labels.outcome(nothing)


@pytest.mark.parametrize(
    ("action", "value", "reason"),
    [
        (LabelAction.TAG, "  ", "at least one character"),
        (LabelAction.TAG, "a, b", "no comma"),
        (LabelAction.TAG, "x" * 61, "at most 60 characters, not 61"),
        (LabelAction.CATEGORIZE, "x" * 121, "at most 120 characters, not 121"),
        (LabelAction.CATEGORIZE, "a\nb", "one line"),
        (LabelAction.CATEGORIZE, "(none)", "stands for prompts without a category"),
    ],
)
def test_a_label_that_breaks_a_rule_is_refused(
    session: Session, action: LabelAction, value: str, reason: str
) -> None:
    project, _ = make_project(session)
    with pytest.raises(Invalid, match=reason):
        edited(session, project, action, value)


def test_ids_must_be_of_the_project_and_nothing_selects_nothing(session: Session) -> None:
    project, _ = make_project(session)
    other, _ = make_project(session)
    (mine,), (theirs,) = made(session, project, "one"), made(session, other, "two")
    selection = PromptSelection(ids=(mine.id, theirs.id))
    with pytest.raises(Invalid, match=f"no prompt {theirs.id} in this project"):
        prompt_labels.edit(session, project, selection, LabelAction.TAG, "x", actor_id=None)
    with pytest.raises(Invalid, match="no prompts are selected"):
        prompt_labels.selection(PromptFilter(), None)


def test_a_file_fills_a_missing_category_and_adds_tags_and_says_what_it_left(
    any_database: Database,
) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        rows = made(session, project, "one", "two")
        edited(session, project, LabelAction.CATEGORIZE, "mine", "two")
        edited(session, project, LabelAction.TAG, "a", "one")
        session.refresh(project)
        before = project.prompt_changes
        labels = PromptLabels("theirs", ("a", "b"))
        kept = prompt_labels.keep(
            session, project.id, [(StoredRow(row.id, is_new=False), labels) for row in rows]
        )
        assert (kept.categories_filled, kept.categories_kept, kept.tags_new) == (1, 1, 3)
        assert categories(session, rows) == ["theirs", "mine"]
        assert project.prompt_changes == before + 1
        again = prompt_labels.keep(
            session, project.id, [(StoredRow(row.id, is_new=False), labels) for row in rows]
        )
        assert (again.categories_filled, again.tags_new) == (0, 0)


def test_labels_of_an_import_are_kept_for_new_and_repeated_rows(any_database: Database) -> None:
    with any_database.transaction() as session:
        project, _ = make_project(session)
        made(session, project, "known")
        rows: list[tuple[str, dict[str, Any]]] = [
            ("known", {"category": "math", "tags": "a"}),
            ("new", {"category": "poems", "tags": ["a", "b"]}),
            ("new", {"category": "songs", "tags": ["b", "c"]}),
            ("bare", {}),
        ]
        given = [NewPrompt((("user", words),), meta=meta) for words, meta in rows]
        stored = prompts.store(session, project, given)
        labelled = list(zip(stored, (each.labels for each in given), strict=True))
        kept = prompt_labels.keep(session, project.id, labelled)
        assert (kept.categories_filled, kept.categories_kept, kept.tags_new) == (1, 1, 4)
        ids = [row.id for row in stored]
        assert prompt_search.tags_by_prompt(session, ids) == {
            ids[0]: ("a",),
            ids[1]: ("a", "b", "c"),
        }
        session.expire_all()
        found = [session.get_one(Prompt, prompt_id).category for prompt_id in ids]
        assert found == ["math", "poems", "poems", ""]
