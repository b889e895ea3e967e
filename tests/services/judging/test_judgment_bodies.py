"""Columns and hashes of judgments."""

import pytest

from app.domain.judgment_kinds import (
    EditBody,
    JudgmentBody,
    PickBody,
    RankBody,
    RateBody,
    ThumbsBody,
    WriteBody,
)
from app.models import Judgment
from app.services.judging import judgment_bodies

# Stored with judgments of earlier versions: a replay must still be recognized.
HASHES: list[tuple[JudgmentBody, str]] = [
    (
        PickBody(preferred="a", strength=3, both_bad=False),
        "582634cd861d214165a7fe31e8ce686f5e971917736549553567cbbf1487246e",
    ),
    (
        PickBody(preferred=None, strength=None, both_bad=True),
        "dfdc6ef60ca3de0c2cd354ee891f5bc0bfc3d07912c929ae2f66a041fa2358ab",
    ),
    (
        PickBody(preferred="tie", strength=None, both_bad=False),
        "af81d35cfe9d10c29db0f62b6e873d04bdac3d8e7a75a28731573ed45951795d",
    ),
    (
        RankBody(ranking=(2, 1, 2), both_bad=False),
        "2048c205c5e3ec07266749a86e6a5d5f7a8a9de4a38be88169b6b62e44fecd65",
    ),
    (
        RankBody(ranking=None, both_bad=True),
        "8b08f034ef4f8bc0a9359877db4da99ca5158634d78b65df57c71625ca9d2ccd",
    ),
    (
        RateBody(ratings={"kind": (1, 2), "äré": (5, 4)}),
        "b4b715995228c8592084240586dd06c0a314f78849afa2651eb60a91adf89659",
    ),
    (
        ThumbsBody(thumb="down", reasons=("wrong", "unclear")),
        "b62706edf00057eca2da146c64b9f775bb18102266768b97f4ae3bf75c491cc5",
    ),
    (
        ThumbsBody(thumb="up", reasons=()),
        "752265ef14cd95043302b2e4e28c7a772cb6e8a839b920d577aec42741877c8e",
    ),
    (
        WriteBody(text="One\nТwo"),
        "9c126bbda4ffa28ea2a46711a4f5d2eddd13baad8493e424aca1cd3cac76322e",
    ),
    (EditBody(text="Better."), "1c40186415d0fac57e9b9ce21d93ef66f0ea2409ae6476a47d0b57f8e43651d7"),
]


@pytest.mark.parametrize(("body", "digest"), HASHES, ids=lambda value: repr(value)[:40])
def test_the_hash_of_a_submission_never_changes(body: JudgmentBody, digest: str) -> None:
    assert judgment_bodies.digest(7, body, ("unsafe", "broken"), "so") == digest


@pytest.mark.parametrize("body", [body for body, _ in HASHES], ids=repr)
def test_a_body_is_read_from_the_columns_it_was_stored_in(body: JudgmentBody) -> None:
    empty = dict.fromkeys(("preferred", "strength", "ranking", "ratings", "thumb", "text"))
    columns = {**empty, "reasons": [], "both_bad": False, **body.to_json()}
    assert judgment_bodies.body_of(Judgment(kind=body.kind, **columns)) == body


def test_the_order_in_which_reasons_are_ticked_does_not_change_the_hash() -> None:
    first, second = ThumbsBody("up", ("clear", "safe")), ThumbsBody("up", ("safe", "clear"))
    assert judgment_bodies.digest(7, first, (), "") == judgment_bodies.digest(7, second, (), "")
