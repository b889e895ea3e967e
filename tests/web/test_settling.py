"""Settling disputes: nothing is filled in beforehand, and the next dispute is one button away."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Adjudication, User
from app.services.project import projects
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]


def _disputed(lead: TestClient, query: str = "") -> list[int]:
    answer = lead.get(f"/api/v1/projects/desk/agreement/lowest{query}")
    rows = [row["comparison_id"] for row in answer.json()]
    assert answer.headers["x-total-count"] == str(len(rows))
    return rows


def _listed(lead: TestClient, state: str) -> str:
    return lead.get(f"/p/desk/comparisons?state={state}", headers={"accept": "text/html"}).text


def test_a_ranking_is_settled_from_blank_and_the_next_dispute_follows(
    sign_in: SignIn, database: Database
) -> None:
    lead = sign_in("lead")
    sign_in("other")
    with database.transaction() as session:
        first, second = session.scalars(select(User).order_by(User.id)).all()
        project = projects.create(
            session, name="Desk", owner=first, judgment_kind=JudgmentKind.RANK, k=3
        )
        ids = []
        for _ in range(2):
            comparison = make_comparison(session, project, texts=("one", "two", "three"))
            vote(session, comparison, first, ranking=(1, 2, 3))
            vote(session, comparison, second, ranking=(3, 2, 1))
            ids.append(comparison.id)
    urls = [f"/p/desk/comparisons/{comparison_id}" for comparison_id in ids]
    page = lead.get(urls[0], headers={"accept": "text/html"}).text
    selects = re.findall(r'<select [^>]*name="ranks" required[^>]*>(.*?)</select>', page, re.S)
    assert len(selects) == 3
    for options in selects:
        assert options.strip().startswith('<option value="">')
        assert "selected" not in options

    form = {"ranks": ["2", "1", "3"], "reason": "gap", "next": "1"}
    assert _disputed(lead) == ids
    assert lead.post(f"{urls[0]}/settle", data=form).headers["location"] == urls[1]
    assert _disputed(lead) == ids[1:]  # what is settled is disputed no longer
    assert _disputed(lead, "?settled=true") == ids
    low, settled = (_listed(lead, state) for state in ("low", "settled"))
    assert (urls[0] in low, urls[1] in low) == (False, True)
    assert (urls[0] in settled, urls[1] in settled) == (True, False)
    answer = lead.post(f"{urls[1]}/settle", data={"preferred": "bad", "reason": "gap", "next": "1"})
    assert answer.headers["location"] == "/p/desk/comparisons?state=low"
    with database.reader() as session:
        rows = session.scalars(select(Adjudication).order_by(Adjudication.id)).all()
        assert [(row.ranking, row.both_bad) for row in rows] == [([2, 1, 3], False), (None, True)]


def test_a_pair_is_settled_with_radio_buttons_that_keep_what_was_chosen(
    sign_in: SignIn, database: Database
) -> None:
    lead = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        comparison = make_comparison(session, project)
        vote(session, comparison, user, preferred="a")
        url = f"/p/desk/comparisons/{comparison.id}"
    page = lead.get(url, headers={"accept": "text/html"}).text
    assert _radios(page, "preferred") == {"a": False, "tie": False, "b": False, "bad": False}
    assert set(_radios(page, "reason").values()) == {False}
    refused = lead.post(f"{url}/settle", data={"preferred": "tie"}, headers={"accept": "text/html"})
    assert refused.status_code == 422
    assert _radios(refused.text, "preferred")["tie"]
    lead.post(f"{url}/settle", data={"preferred": "tie", "reason": "taste"})
    with database.reader() as session:
        row = session.scalars(select(Adjudication)).one()
        assert (row.preferred, row.reason) == ("tie", "taste")


def _radios(page: str, name: str) -> dict[str, bool]:
    """Return the values of a set of radio buttons, and whether each is chosen."""
    found = re.findall(rf'<input type="radio" name="{name}" value="(\w+)" required\s*(\w*)', page)
    return {value: chosen == "checked" for value, chosen in found}


@pytest.mark.parametrize(
    ("votes", "is_folded"),
    [
        ([], True),
        ([{"preferred": "a"}], True),
        ([{"preferred": "a"}, {"preferred": "a"}], True),
        ([{"preferred": "a"}, {"preferred": "b"}], False),
        ([{"preferred": "a"}, {"preferred": "a", "both_bad": True}], False),
    ],
)
def test_the_form_is_folded_until_two_labelers_differ(
    sign_in: SignIn, database: Database, votes: list[dict[str, Any]], is_folded: bool
) -> None:
    lead = sign_in("lead")
    sign_in("other")
    with database.transaction() as session:
        people = session.scalars(select(User).order_by(User.id)).all()
        project = projects.create(session, name="Desk", owner=people[0])
        comparison = make_comparison(session, project)
        for person, said in zip(people, votes, strict=False):
            vote(session, comparison, person, **said)
        url = f"/p/desk/comparisons/{comparison.id}"
    page = lead.get(url, headers={"accept": "text/html"}).text
    assert ("<h2>Settle the comparison</h2>" in page) is not is_folded
    assert ("Reason for the disagreement" in page) is not is_folded
    assert _fold(page) == (" " if is_folded else None)
    refused = lead.post(f"{url}/settle", data={"preferred": "tie"}, headers={"accept": "text/html"})
    assert _fold(refused.text) == (" open" if is_folded else None)
    assert lead.post(f"{url}/settle", data={"preferred": "tie", "reason": "gap"}).status_code == 303


def _fold(page: str) -> str | None:
    """Return what the fold of the form says of its state; None without a fold."""
    found = re.search(r'<details class="card"([^>]*)>\s*<summary>Settle the comparison<', page)
    return found and found.group(1)


def test_what_was_preferred_is_counted_apart_from_ties(sign_in: SignIn, database: Database) -> None:
    lead = sign_in("lead")
    for name in ("second", "third"):
        sign_in(name)
    with database.transaction() as session:
        people = session.scalars(select(User).order_by(User.id)).all()
        picks = projects.create(session, name="Desk", owner=people[0])
        pick, new = (make_comparison(session, picks) for _ in range(2))
        for person, said in zip(people, ("a", "a", "tie"), strict=True):
            vote(session, pick, person, preferred=said)
        ranks = projects.create(
            session, name="Ranks", owner=people[0], judgment_kind=JudgmentKind.RANK, k=3
        )
        rank = make_comparison(session, ranks, texts=("one", "two", "three"))
        vote(session, rank, people[0], ranking=(1, 2, 3))
        vote(session, rank, people[1], ranking=(2, 1, 3))
        vote(session, rank, people[2], ranking=(1, 1, 3))
        addresses = [
            f"/p/desk/comparisons/{pick.id}",
            f"/p/ranks/comparisons/{rank.id}",
            f"/p/desk/comparisons/{new.id}",
        ]
    assert [_summaries(lead, url) for url in addresses] == [
        ["preferred in 2 of 3, tied in 1", "preferred in 0 of 3, tied in 1"],
        [
            "ranked first in 1 of 3, tied for first in 1",
            "ranked first in 1 of 3, tied for first in 1",
            "ranked first in 0 of 3",
        ],
        ["", ""],
    ]


def _summaries(lead: TestClient, url: str) -> list[str]:
    page = lead.get(url, headers={"accept": "text/html"}).text
    return re.findall(r'<div class="spread"><small dir="auto">(.*?)</small>', page)
