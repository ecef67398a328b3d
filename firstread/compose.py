"""What more than one composition root needs: the database, the records of the work, Orthanc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from firstread.settings import Settings
from worklist.errors import InvalidInput
from worklist.pacs_connection import trusting
from worklist.records import Database, JobRecords

if TYPE_CHECKING:
    from gateway.intake.orthanc import OrthancClient


def open_database(settings: Settings) -> Database:
    """The database, connected to lazily.

    Raises:
        InvalidInput: the URL cannot be understood.
    """
    try:
        return Database(settings.database_url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidInput(
            "bad_database_url",
            f"FIRSTREAD_DATABASE_URL is not understood ({error}): use sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
        ) from error


def build_orthanc_client(settings: Settings) -> OrthancClient:
    """A client of Orthanc's REST interface.

    Raises:
        InvalidInput: its certificate authority's file cannot be used.
    """
    from gateway.intake.orthanc import OrthancClient  # noqa: PLC0415 - no worker needs it, and it is large

    return OrthancClient(
        settings.orthanc_url,
        auth=settings.orthanc_auth,
        tls=trusting(settings.orthanc_ca_file),
        dicomweb_root=settings.orthanc_dicomweb_root,
    )


def build_job_records(settings: Settings, database: Database) -> JobRecords:
    """The records of the work."""
    return JobRecords(database, settings.site_rules, settings.job_limits)
