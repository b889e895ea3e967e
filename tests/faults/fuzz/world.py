"""What is attacked: a project in the middle of its work, one of another lead, and the askers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Role, Scoring, User
from app.services.people import accounts
from app.services.project import projects
from tests.browser import planted


@dataclass(frozen=True, slots=True)
class Asker:
    """A token, and the policies whose routes it may use, to read and to change something."""

    name: str
    token: str
    reads: frozenset[str]
    changes: frozenset[str]


@dataclass(frozen=True, slots=True)
class World:
    """Those who ask, and the ids that there are, by the parameter that takes them."""

    askers: tuple[Asker, ...]
    ids: Mapping[str, list[int | str]]


REACH: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "nobody": ((), ()),
    "label": (("labeler",), ("labeler",)),
    "read": (("signed_in", "lead"), ()),
    "write": (("signed_in", "labeler", "lead"),) * 2,
    "admin": (("signed_in", "labeler", "lead", "admin"),) * 2,
    "labeler": (("signed_in", "labeler"),) * 2,
    "other lead": (("signed_in",),) * 2,
}
"""Which policies let an asker through; those of a scope are somebody's who may do everything."""


def make(session: Session) -> World:
    """Fill an empty database."""
    ids = planted.make_rows(session)
    chief = session.get_one(User, int(ids["ada"][0]))
    desk = projects.by_slug(session, planted.SLUG)
    accounts.add_member(session, desk.id, chief.id, Role.LEAD, actor_id=None)
    labeler, other = (
        accounts.create_user(session, email=f"{name}@example.org", name=name, password=None)
        for name in ("labeler", "other")
    )
    accounts.add_member(session, desk.id, labeler.id, Role.LABELER, actor_id=None)
    projects.create(session, name="other", owner=other)
    for scoring in session.scalars(select(Scoring)):
        scoring.sides = [{"name": name, "checkpoint_id": None} for name in ("one", "two")]
    people = {"labeler": labeler, "other lead": other}
    return World(tuple(_asker(session, name, people.get(name, chief)) for name in REACH), _ids(ids))


def _asker(session: Session, name: str, user: User) -> Asker:
    scopes = [name] if name in accounts.SCOPES else ["write"]
    token = ""
    if name != "nobody":
        token = accounts.create_token(session, user, name=name, scopes=scopes).secret
    reads, changes = (frozenset({"public", *policies}) for policies in REACH[name])
    return Asker(name, token, reads, changes)


def _ids(ids: Mapping[str, list[int | str]]) -> dict[str, list[int | str]]:
    models = ids["checkpoint_id"]
    found = {name: list(values) for name, values in ids.items() if name.endswith("_id")}
    return found | {
        "slug": [planted.SLUG],
        "number": [1],
        "judgment_id": [1, 2],
        "edit_id": [1],
        "first_id": models,
        "second_id": models,
        "reward_id": models,
    }
