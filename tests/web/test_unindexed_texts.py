"""Pages and the API say which imported texts a search does not find yet."""

from collections.abc import Callable

from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Project, UnindexedTexts, User
from app.services.project import projects

API = "/api/v1/projects/desk"


def test_searches_say_which_texts_they_do_not_find_yet(
    sign_in: Callable[..., TestClient], database: Database
) -> None:
    lead = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "lead")).one()
        projects.create(session, name="Desk", owner=user, judgment_kind=JudgmentKind.PICK)
    lead.post(f"{API}/imports", content=b'{"prompt": "May I renew?"}\n')

    def shown(page: str) -> str:
        answer = lead.get(f"/p/desk/{page}?q=renew", headers={"accept": "text/html"})
        return " ".join(answer.text.split())

    said = "2 texts of imports are still being made searchable and not found yet"
    with database.transaction() as session:
        project_id = session.scalars(select(Project.id)).one()
        waiting = UnindexedTexts(project_id=project_id, kind="prompt", first_id=1, last_id=2)
        session.add(waiting)
    for page in ("prompts", "comparisons", "history"):
        assert said in shown(page), page
    assert lead.get(f"{API}/prompts").json()["unindexed"] == 2
    with database.transaction() as session:
        session.delete(waiting)
    assert said not in shown("prompts")
    assert lead.get(f"{API}/prompts").json()["unindexed"] == 0
