"""The composition root of the gateway: settings in, a running application out. It loads no model."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version

from fastapi import FastAPI

from firstread.compose import build_job_records, build_orthanc_client
from firstread.settings import Settings
from gateway.app import GatewayParts, build_app
from gateway.dispatch import Dispatcher, build_sender
from gateway.intake import Intake, IntakePace
from gateway.pages import SiteFacts
from worklist.records import Database, ExclusiveLock, IntakeRecords, ReadingList

_FEED_LOCK = 7_319_002


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
