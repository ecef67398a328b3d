"""What every composition root needs: logging, the database, the records of the work, Orthanc.

Each function imports its own parts when it is called, so that a process loads no more than it uses.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from firstread.settings import Settings
from worklist.errors import InvalidInput, PermanentError, TransientError

if TYPE_CHECKING:
    from gateway.intake.orthanc import OrthancClient
    from worklist.records import Database, JobRecords

# ruff: noqa: PLC0415 - see above


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
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # its warnings quote the headers of patients' images


def open_database(settings: Settings) -> Database:
    """The database, connected to lazily.

    Raises:
        InvalidInput: the URL cannot be understood.
    """
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    from worklist.records import Database

    try:
        return Database(settings.database_url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidInput(
            "bad_database_url",
            f"FIRSTREAD_DATABASE_URL is not understood ({error}): use sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
        ) from error


def require_current_database(settings: Settings) -> None:
    """Make sure that the tables are those of this version.

    Raises:
        PermanentError: they are not.
        TransientError: the database does not answer.
    """
    from sqlalchemy.exc import OperationalError

    import migrations

    database = open_database(settings)
    try:
        current, newest = migrations.revisions(database)
    except OperationalError as error:
        raise TransientError(
            "database_unavailable", f"the database does not answer ({error.orig}): check FIRSTREAD_DATABASE_URL"
        ) from error
    finally:
        database.close()
    if current != newest:
        raise PermanentError(
            "database_outdated",
            f"the database is at revision {current or 'none'}, not {newest}: run firstread db upgrade",
        )


def upgrade_database(settings: Settings) -> Iterator[str]:
    """Bring the database to the newest revision; a line for each that was applied, and one for what is there now.

    Raises:
        InvalidInput: the URL cannot be understood.
    """
    from alembic.script import ScriptDirectory

    import migrations
    from worklist.records import Worklist

    database = open_database(settings)
    before, _ = migrations.revisions(database)
    started = time.monotonic()
    migrations.upgrade(database)
    took_s = time.monotonic() - started
    scripts = ScriptDirectory.from_config(migrations.configure(database))
    applied = [script for script in scripts.iterate_revisions("head", before or "base") if script.revision != before]
    for script in reversed(applied):
        yield f"applied {script.revision}: {script.doc}"
    current, counts = migrations.revisions(database)[0], Worklist(database, settings.site_rules).counts()
    did = f"upgraded from {before or 'nothing'} in {took_s:.1f} s" if applied else "nothing was to be done"
    yield (
        f"the database is at revision {current}, {did}; "
        f"{counts.listed} studies are to be read, {counts.priors} are taken for priors"
    )
    database.close()


def build_orthanc_client(settings: Settings) -> OrthancClient:
    """A client of Orthanc's REST interface."""
    from gateway.intake.orthanc import OrthancClient

    return OrthancClient(settings.orthanc_url, auth=settings.orthanc_auth, dicomweb_root=settings.orthanc_dicomweb_root)


def build_job_records(settings: Settings, database: Database) -> JobRecords:
    """The records of the work."""
    from worklist.records import JobRecords

    return JobRecords(database, settings.site_rules, settings.job_limits)
