"""The pictures of the documentation can be made again; drawn ones are as the script draws."""

import xml.etree.ElementTree as ET
from typing import Any

from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Completion, Judgment
from app.settings import DATABASE_FILE
from tests.browser import picture_world, pictures

SVG = "{http://www.w3.org/2000/svg}"


def _made(database: Database) -> tuple[str, list[Any]]:
    with database.transaction() as session:
        secret = picture_world.furnish(session)
    with database.reader() as session:
        texts = session.scalars(select(Completion.text).order_by(Completion.id))
        votes = session.scalars(select(Judgment.preferred).order_by(Judgment.id))
        return secret, [*texts, *votes]


def test_every_page_of_a_picture_opens_and_the_world_is_always_the_same(
    client: TestClient, database: Database, tmp_path: Any, sqlite_template: Any
) -> None:
    secret, first = _made(database)
    client.cookies.set("attune", secret)
    for picture in pictures.PICTURES:
        answer = client.get(f"/p/{picture_world.SLUG}{picture.path}")
        assert answer.status_code == 200, picture
        assert "<main" in answer.text, picture
    copy = tmp_path / f"other-{DATABASE_FILE}"
    copy.write_bytes(sqlite_template.read_bytes())
    other = Database(f"sqlite:///{copy}")
    assert _made(other)[1] == first
    other.dispose()


def test_the_drawings_are_those_of_the_script_and_carry_no_script() -> None:
    for name, text in pictures.drawings().items():
        assert (pictures.FOLDER / name).read_text(encoding="utf-8") == text, name
        root = ET.fromstring(text)
        assert root.find(f"{SVG}title") is not None
        assert root.find(f".//{SVG}script") is None
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-reduced-motion" in pictures.drawings()["loop.svg"]
    assert "@keyframes" not in pictures.drawings()["loop-still.svg"]
