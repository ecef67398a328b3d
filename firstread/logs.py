"""What the processes of Firstread log, and how."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from firstread.settings import Settings


def set_up_logging(settings: Settings) -> None:
    """Log to stderr: readable lines, or one JSON object a line."""
    renderer = structlog.processors.JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer(colors=False)
    usual: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(processors=[*usual, renderer], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # What libraries say comes in the same form, so that a line is one line of JSON whoever wrote it.
    of_libraries = logging.StreamHandler(sys.stderr)
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *usual],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[of_libraries], level=logging.WARNING)
    logging.captureWarnings(capture=True)
    # The processes of a worker speak through this one, which hands nothing on to the root.
    logging.getLogger("multiprocessing").addHandler(of_libraries)
    # It warns of each broken form that somebody sends, who has the problem document.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # Its warnings quote the headers of patients' images. A filter, since pydicom sets its level anew when imported.
    logging.getLogger("pydicom").addFilter(lambda record: record.levelno >= logging.ERROR)
