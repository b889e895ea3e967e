"""The operator's list of servers names keys and never holds them."""

from typing import Any

import pytest

from app.domain.judges import servers
from app.domain.judges.servers import AllowedServer
from app.domain.judges.setup import JudgeLimits, JudgeSetup, check_kind
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid

LIST = "https://api.example.com/v1/=EXAMPLE_KEY, http://127.0.0.1:8000/v1"


def test_entries_are_urls_with_or_without_a_variable() -> None:
    assert servers.allowed(LIST) == (
        AllowedServer("https://api.example.com/v1", "EXAMPLE_KEY"),
        AllowedServer("http://127.0.0.1:8000/v1"),
    )
    assert servers.allowed("") == ()


@pytest.mark.parametrize("entry", ["api.example.com", "ftp://x/v1", "http://x/v1=sk-secret-123"])
def test_a_bad_entry_is_named_without_what_may_be_a_key(entry: str) -> None:
    with pytest.raises(Invalid, match="ATTUNE_JUDGE_SERVERS") as caught:
        servers.allowed(entry)
    assert "secret" not in str(caught.value)


def test_only_listed_servers_are_found() -> None:
    listed = servers.allowed(LIST)
    assert servers.find(listed, "http://127.0.0.1:8000/v1/") is listed[1]
    with pytest.raises(Invalid, match=r"http://127\.0\.0\.1:8000/v2 is not among those"):
        servers.find(listed, "http://127.0.0.1:8000/v2")
    with pytest.raises(Invalid, match=r"none\); the operator"):
        servers.find((), "http://x/v1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, "a judge's name"),
        ({"model": " m"}, "a judge's model"),
        ({"temperature": 3.0}, "temperature must be"),
        ({"max_tokens": 1}, "max_tokens must be"),
        ({"notes": "x" * 4_001}, "notes have at most 4000"),
    ],
)
def test_setups_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        JudgeSetup(**({"name": "J", "server": "http://x", "model": "m"} | settings))


def test_money_is_known_only_with_prices_and_tokens() -> None:
    limits = JudgeLimits(price_in=2.0, price_out=10.0, budget=1.0)
    assert limits.cost(1_000_000, 100_000) == pytest.approx(3.0)
    assert limits.cost(None, 5) is None
    assert JudgeLimits().cost(5, 5) is None
    wrongs: list[dict[str, Any]] = [{"price_in": 1.0}, {"budget": 1.0}, {"currency": "usd"}]
    for wrong in wrongs:
        with pytest.raises(Invalid):
            JudgeLimits(**wrong)


def test_texts_are_left_to_people() -> None:
    for kind in (JudgmentKind.PICK, JudgmentKind.RANK, JudgmentKind.RATE, JudgmentKind.THUMBS):
        check_kind(kind)
    with pytest.raises(Invalid, match="kind write are left to people"):
        check_kind(JudgmentKind.WRITE)
