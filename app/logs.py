"""Structured logging: JSON for machines, aligned text for a terminal.

Every line includes the values bound to the context (`request_id`, `job_id`). Entry points configure
logging once; everything else calls `structlog.get_logger()`.
"""

import logging
import sys
from typing import Literal

import structlog


def configure(level: str = "info", style: Literal["auto", "json", "text"] = "auto") -> None:
    """Send all log lines of the process, including those of libraries, to standard error."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if as_json else _keep,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        # Its default prints local variables: passwords among them, and for many seconds.
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.getLogger("alembic.runtime.migration").addFilter(_is_migrating)


def _is_migrating(record: logging.LogRecord) -> bool:
    """Whether a line is about a migration that runs; each look at the revision writes two more."""
    return not record.getMessage().startswith(("Context impl ", "Will assume "))


def _keep(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return event
