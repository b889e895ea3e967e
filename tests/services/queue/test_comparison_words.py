"""Comparisons found by word: the same by each of the three ways, newest first, in pages."""

import pytest
from sqlalchemy import select

from app.db import Database
from app.domain import search_words
from app.models import Comparison
from app.services.queue import comparison_words
from app.services.queue.comparison_words import SearchedRows
from tests.services.sample_votes import make_comparison, make_project

WAYS = {
    "by index": (1_000, (100,)),
    "by reading": (0, (2, 2, 100)),
    "by reading in vain": (0, (1,)),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_finds_the_same_in_pages(
    any_database: Database, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    few, batches = WAYS[way]
    monkeypatch.setattr(comparison_words, "FEW", few)
    monkeypatch.setattr(comparison_words, "BATCHES", batches)
    with any_database.transaction() as session:
        project, _ = make_project(session)
        other, _ = make_project(session)
        texts = [("refund now", "no"), ("yes", "a refund"), ("no", "nothing"), ("refunded", "x")]
        ids = [make_comparison(session, project, pair).id for pair in texts]
        make_comparison(session, other, texts[0])
        query = select(Comparison.id, Comparison.id, Comparison.prompt_id).where(
            Comparison.project_id == project.id
        )

        def find(search: str, after: int | None = None, *, oldest: bool = False) -> list[int]:
            rows = SearchedRows(Comparison.id, query, after, oldest)
            terms = search_words.parse(search)
            return comparison_words.newest(session, project.id, rows, terms, limit=2)

        assert find("refund") == [ids[3], ids[1]]
        assert find("refund", after=ids[1]) == [ids[0]]
        assert find("refund", oldest=True) == ids[:2]
        assert find("refund", after=ids[1], oldest=True) == [ids[3]]
        assert find("question") == [ids[3], ids[2]]  # in the prompts
        assert find("question refund") == []  # one text must contain all words
        assert find("nowhere") == find("*") == []
        assert comparison_words.matching(session, query, search_words.parse("a")) == [ids[1]]
