"""Transitions that the tables do not have, as they are refused in words."""

import pytest

from app.domain.states import JOB_MOVES, ROUND_MOVES, JobState, RoundState, move
from app.errors import Conflict


def test_a_job_that_has_ended_is_said_to_have() -> None:
    with pytest.raises(Conflict, match=r"^job 1 has failed and cannot be cancelled$"):
        move(JOB_MOVES, "job 1", JobState.FAILED, JobState.CANCELLED)


def test_a_round_that_was_ended_is_said_to_be() -> None:
    with pytest.raises(Conflict, match=r"^round 1 is cancelled and cannot be promoted$"):
        move(ROUND_MOVES, "round 1", RoundState.CANCELLED, RoundState.PROMOTED)
    with pytest.raises(Conflict, match=r"^round 1 is held and cannot become labeling$"):
        move(ROUND_MOVES, "round 1", RoundState.HELD, RoundState.LABELING)
