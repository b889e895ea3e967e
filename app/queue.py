"""Wakes the workers of a queue. The row is the job, so losing a message costs only latency.

This is the only module in `app` that uses Celery. Without a broker a wake does nothing, because the
workers of the embedded default poll the table.
"""

import threading
import time
from typing import Any, Final, Literal, get_args

import structlog
from celery import Celery
from kombu.exceptions import KombuError

QueueName = Literal["gpu", "cpu"]
QUEUES: Final[tuple[QueueName, ...]] = get_args(QueueName)
TASK: Final = "attune.work"
WAKE_EXPIRES_S: Final = 60
_TIMEOUT_S: Final = 1.0
_SILENCE_S: Final = 10.0  # after a failed wake, so that requests do not wait for a dead broker

log = structlog.get_logger(__name__)


class _Sender:
    """The broker of this process, if an entry point configured one, and its last failure."""

    def __init__(self) -> None:
        self.celery: Celery | None = None
        self.silent_until = 0.0
        self.lock = threading.Lock()


_sender = _Sender()


def configure(broker_url: str | None) -> None:
    """Set the broker that wakes are sent to (called by entry points); None disables wakes."""
    with _sender.lock:
        _sender.celery = None if broker_url is None else _make_celery(broker_url)
        _sender.silent_until = 0.0


def configuration(broker_url: str) -> dict[str, Any]:
    """Return the Celery settings of both sides: JSON, no results, early ack, no prefetch."""
    return {
        "broker_url": broker_url,
        "accept_content": ["json"],
        "broker_connection_max_retries": None,  # a worker outlives any outage of the broker
        "broker_connection_retry_on_startup": True,
        "result_backend": None,
        "task_acks_late": False,
        "task_ignore_result": True,
        "task_serializer": "json",
        "worker_prefetch_multiplier": 1,
    }


def broker_queue(queue: str) -> str:
    """Return the name of one of our queues at the broker."""
    return f"attune.{queue}"


def wake(queue: str) -> bool:
    """Wake a worker of this queue, best effort; return whether a message was sent."""
    celery = _sender.celery
    if celery is None or time.monotonic() < _sender.silent_until:
        return False
    try:
        celery.send_task(
            TASK,
            args=[queue],
            queue=broker_queue(queue),
            expires=WAKE_EXPIRES_S,
            ignore_result=True,
            retry=False,
        )
    except (KombuError, OSError) as error:
        _sender.silent_until = time.monotonic() + _SILENCE_S
        log.warning("wake not sent", queue=queue, reason=str(error))
        return False
    return True


def is_reachable() -> bool | None:
    """Whether the broker responds; None if none is configured."""
    celery = _sender.celery
    if celery is None:
        return None
    try:
        with celery.connection_for_write(transport_options={"max_retries": 0}) as connection:
            connection.ensure_connection(max_retries=1, timeout=_TIMEOUT_S)
            connection.default_channel.client.ping()
    except (KombuError, OSError):
        return False
    return True


def _make_celery(broker_url: str) -> Celery:
    """Make a Celery application that only sends, and gives up quickly."""
    celery = Celery("attune", set_as_current=False)
    limits = {
        "socket_connect_timeout": _TIMEOUT_S,
        "socket_timeout": _TIMEOUT_S,
        "max_retries": 0,
    }
    celery.conf.update(
        configuration(broker_url),
        broker_connection_timeout=_TIMEOUT_S,
        broker_transport_options=limits,
    )
    return celery
