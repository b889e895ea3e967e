"""Lists in the order of a column, page by page: nothing twice, nothing left out, in any order."""

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.db.keyset import ListOrder
from app.errors import Invalid
from app.services.project import prompt_search, prompts
from app.services.project.prompt_search import PromptFilter
from app.services.project.prompts import NewPrompt
from tests.services import sample

SOURCES = ("b", "", "a", "b", "", "B", "a", "ä", "b", "a")


def all_pages(session: Session, project_id: int, order: ListOrder, limit: int) -> list[int]:
    """Return the prompts of all pages, and check that only the last one may be short."""
    keys: list[int] = []
    following: ListOrder | None = order
    while following is not None:
        page = prompt_search.page(session, project_id, order=following, limit=limit)
        assert page.rows or not keys
        keys += [row.prompt.id for row in page.rows]
        following = page.next
        assert following is None or len(page.rows) == limit
    return keys


@pytest.mark.parametrize("is_ascending", [True, False])
@pytest.mark.parametrize("column", ["", *prompt_search.SORTABLE])
def test_pages_meet_in_any_order(any_database: Database, column: str, is_ascending: bool) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        for n, source in enumerate(SOURCES):
            row = NewPrompt((("user", f"{n}?"),), source=source)
            prompts.add(session, project, [row])
        order = ListOrder(column, is_ascending)
        whole = all_pages(session, project.id, order, len(SOURCES))
        assert len(set(whole)) == len(SOURCES)
        for limit in (1, 3, 5):
            assert all_pages(session, project.id, order, limit) == whole
        opposite = ListOrder(column, not is_ascending)
        assert all_pages(session, project.id, opposite, 4) == whole[::-1]


def test_a_column_that_has_no_order_is_refused(session: Session) -> None:
    project = sample.make_project(session)
    with pytest.raises(Invalid, match=r"sorted by 'text', only by split, category, source"):
        prompt_search.page(session, project.id, PromptFilter(), order=ListOrder("text"))
