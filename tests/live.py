"""Serves the application on a real socket, for tests that use HTTP from other threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from app.web.http_protocol import BoundedProtocol


@contextmanager
def serve(application: Any) -> Iterator[str]:
    """Serve on a free local port; yield the address."""
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=0,
        http=BoundedProtocol,
        log_level="error",
        ws="none",
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
