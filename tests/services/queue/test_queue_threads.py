"""The queue under many hands: never more than K, never one labeler twice, nothing left over."""

import pytest

from app.db import Database
from tests.services.queue import many_hands


@pytest.mark.slow
def test_24_threads_give_every_comparison_exactly_k_judgments(any_database: Database) -> None:
    assert many_hands.empty(any_database, threads=24, comparisons=400, overlap=3) == []
