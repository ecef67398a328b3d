"""What the processes of Firstread log, and how."""

from __future__ import annotations

import logging
import sys

import structlog

from firstread.settings import Settings


def set_up_logging(settings: Settings) -> None:
    """Log to stderr: readable lines, or one JSON object a line."""
    renderer = structlog.processors.JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(name)s: %(message)s"
    )
    # It warns of each broken form that somebody sends, who has the problem document.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # Its warnings quote the headers of patients' images. A filter, since pydicom sets its level anew when imported.
    logging.getLogger("pydicom").addFilter(lambda record: record.levelno >= logging.ERROR)
