"""What stands in the way of an automatic round, and the ranges of its settings."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.automatic_rounds import AutomaticSettings, Blocker, Facts, blocker, not_before
from app.errors import Invalid

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = AutomaticSettings(most_in_row=3, hours_between=2)
FREE = Facts(True, False, False, False, True, 2, NOW - timedelta(hours=2), NOW)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"launched_at": None}, None),
        ({"is_on": False, "is_paused": True}, Blocker.OFF),
        ({"is_paused": True, "has_open_round": True}, Blocker.PAUSED),
        ({"is_labeling_paused": True}, Blocker.LABELING_PAUSED),
        ({"has_open_round": True, "launched_in_row": 3}, Blocker.ROUND_OPEN),
        ({"has_plan": False}, Blocker.NO_PLAN),
        ({"launched_in_row": 3}, Blocker.IN_ROW),
        ({"now": NOW - timedelta(seconds=1)}, Blocker.TOO_SOON),
    ],
)
def test_the_first_thing_in_the_way_is_named(
    changes: dict[str, Any], expected: Blocker | None
) -> None:
    assert blocker(SETTINGS, replace(FREE, **changes)) == expected


def test_without_a_limit_in_hours_any_time_is_late_enough() -> None:
    assert not_before(replace(SETTINGS, hours_between=0), NOW) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judgments": 0}, "must be 1 to 100,000, not 0"),
        ({"most_in_row": 101}, "in a row must be 1 to 100, not 101"),
        ({"hours_between": -1.0}, "must be 0 to 8,760, not -1.0"),
        ({"hours_between": float("nan")}, "not nan"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        replace(SETTINGS, **changes)
