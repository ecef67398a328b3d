"""The composition roots: settings in, a running gateway or worker out. Nothing else knows both ends."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from importlib.metadata import version

import structlog
from celery import Celery
from fastapi import FastAPI
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

import migrations
from firstread.settings import Settings
from gateway.app import GatewayParts, build_app
from gateway.dispatch import Dispatcher, build_sender
from gateway.intake import Intake, IntakePace
from gateway.orthanc import OrthancClient
from gateway.pages import SiteFacts
from models import Explainer, Scorer
from models.embedded import WEIGHTS, EmbeddedScorer
from models.template import TemplateExplainer
from worker.pacs import Pacs
from worker.pipeline import Pipeline
from worker.tasks import TimeLimits, build_worker
from worklist.errors import InvalidInput, PermanentError, TransientError
from worklist.records import Database, ExclusiveLock, IntakeRecords, JobRecords, ReadingList

_FEED_LOCK = 7_319_002


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


def open_database(settings: Settings) -> Database:
    """The database, connected to lazily.

    Raises:
        InvalidInput: the URL cannot be understood.
    """
    try:
        return Database(settings.database_url)
    except (ArgumentError, NoSuchModuleError) as error:
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


def build_orthanc_client(settings: Settings) -> OrthancClient:
    """A client of Orthanc's REST interface."""
    return OrthancClient(settings.orthanc_url, auth=settings.orthanc_auth, dicomweb_root=settings.orthanc_dicomweb_root)


def build_scorer(settings: Settings) -> Scorer:
    """The fast path's model, loaded."""
    return EmbeddedScorer(settings.model_dir or WEIGHTS, threads=settings.scorer_threads)


def build_explainer(settings: Settings) -> Explainer:
    """What writes the explanation."""
    del settings
    return TemplateExplainer()


def build_job_records(settings: Settings, database: Database) -> JobRecords:
    """The records of the work."""
    return JobRecords(database, settings.reading_policy, settings.job_limits)


def build_pacs(settings: Settings) -> Pacs:
    """Orthanc's DICOMweb service."""
    root = f"{settings.orthanc_url.rstrip('/')}/{settings.orthanc_dicomweb_root.strip('/')}"
    return Pacs(root, auth=settings.orthanc_auth)


def build_pipeline(settings: Settings) -> Pipeline:
    """What a worker process does its jobs with."""
    return Pipeline(
        jobs=build_job_records(settings, Database(settings.database_url)),
        pacs=build_pacs(settings),
        scorer=build_scorer(settings),
        explainer=build_explainer(settings),
        policy=settings.reading_policy,
    )


def build_worker_app(settings: Settings) -> Celery:
    """The Celery application of a worker."""
    return build_worker(
        settings.broker_url,
        lambda: build_pipeline(settings),
        TimeLimits(score_s=settings.score_time_limit_s, report_s=settings.report_time_limit_s),
    )


def build_gateway(settings: Settings) -> FastAPI:
    """The gateway's application."""
    database = Database(settings.database_url)
    orthanc = build_orthanc_client(settings)
    records = IntakeRecords(database, settings.reading_policy)
    dispatcher = Dispatcher(build_job_records(settings, database), build_sender(settings.broker_url))
    intake = Intake(
        orthanc=orthanc,
        records=records,
        dispatcher=dispatcher,
        lock=ExclusiveLock(database, _FEED_LOCK),
        rules=settings.scope_rules,
        pace=IntakePace(
            poll=timedelta(seconds=settings.poll_s),
            lookback=timedelta(hours=settings.lookback_h),
            quiet=timedelta(seconds=settings.quiet_s),
        ),
    )
    return build_app(
        GatewayParts(
            database=database,
            records=records,
            reading_list=ReadingList(database),
            orthanc=orthanc,
            dispatcher=dispatcher,
            intake=intake,
            site=SiteFacts(
                version=version("firstread"),
                dicom_host=settings.orthanc_dicom_host,
                dicom_port=settings.orthanc_dicom_port,
                dicom_aet=settings.orthanc_aet,
            ),
        )
    )
