"""Home: how much is left to judge."""

import pytest

from app.domain.assignment import QueueState
from app.models import Project
from app.web.pages.home import ProjectCard


@pytest.mark.parametrize(
    ("count", "is_exact", "left"),
    [
        (1, True, "1 comparison to judge"),
        (38, True, "38 comparisons to judge"),
        (203, False, "200+ comparisons to judge"),
        (1_203, False, "1,200+ comparisons to judge"),
    ],
)
def test_a_count_that_is_not_exact_is_rounded_down(count: int, is_exact: bool, left: str) -> None:
    queue = QueueState(
        open=count,
        is_open_exact=is_exact,
        held=0,
        judged=0,
        skipped=0,
        total=count,
        with_others=0,
        next_free_s=None,
    )
    card = ProjectCard(Project(), False, True, 0, queue, False, None)
    assert card.left == left
