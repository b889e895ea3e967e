from collections.abc import Iterator
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from app import queue as broker


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Give what would have been sent to a broker that fails when told to."""
    found: list[dict[str, Any]] = []

    def send(name: str, **options: Any) -> None:
        found.append({"name": name, **options})
        if options["args"] == ["cpu"]:
            raise OperationalError("connection refused")

    broker.configure("redis://127.0.0.1:1/0")
    monkeypatch.setattr(broker._sender.celery, "send_task", send)
    yield found
    broker.configure(None)


def test_without_a_broker_a_wake_does_nothing() -> None:
    broker.configure(None)
    assert broker.wake("gpu") is False
    assert broker.is_reachable() is None


def test_a_wake_names_its_queue_and_expires(sent: list[dict[str, Any]]) -> None:
    assert broker.wake("gpu") is True
    (message,) = sent
    assert (message["name"], message["args"]) == (broker.TASK, ["gpu"])
    assert (message["queue"], message["expires"]) == ("attune.gpu", broker.WAKE_EXPIRES_S)
    assert (message["retry"], message["ignore_result"]) == (False, True)


def test_a_dead_broker_is_not_asked_again_at_once(sent: list[dict[str, Any]]) -> None:
    assert broker.wake("cpu") is False
    assert broker.wake("cpu") is False
    assert len(sent) == 1


def test_both_ends_speak_json_without_results_and_acknowledge_early() -> None:
    found = broker.configuration("redis://127.0.0.1:1/0")
    assert found["accept_content"] == ["json"]
    assert found["result_backend"] is None
    assert found["task_acks_late"] is False
    assert found["worker_prefetch_multiplier"] == 1
