"""The composition root of the gateway: settings in, a running application out. It loads no model."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version

from fastapi import FastAPI

from firstread.compose import build_job_records, build_orthanc_client
from firstread.settings import Settings
from gateway.access.actors import Actors
from gateway.app import GatewayParts, build_app
from gateway.dicomweb.passthrough import DicomWebOrigin
from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.intake.feed import FEED, Intake, IntakePace
from gateway.list.hub import ListHub
from gateway.list.pages import SiteFacts
from gateway.list.viewer import OPEN_STUDY
from gateway.predict.routes import PredictLimits
from worklist.records import Database, IntakeRecords, Lease, PredictionRecords, ReadingRecords, Worklist


def build_gateway(settings: Settings) -> FastAPI:
    """The gateway's application."""
    database = Database(settings.database_url)
    orthanc = build_orthanc_client(settings)
    rules = settings.site_rules
    records, jobs = IntakeRecords(database, rules), build_job_records(settings, database)
    readings, worklist = ReadingRecords(database=database, rules=rules), Worklist(database, rules)
    dispatcher = Dispatcher(jobs, build_sender(settings.broker_url))
    intake = Intake(
        orthanc=orthanc,
        records=records,
        readings=readings,
        jobs=jobs,
        dispatcher=dispatcher,
        lease=Lease(database, FEED),
        rules=settings.scope_rules,
        report_titles=settings.report_titles,
        pace=IntakePace(poll=timedelta(seconds=settings.poll_s), lookback=timedelta(hours=settings.lookback_h)),
    )
    return build_app(
        GatewayParts(
            database=database,
            records=records,
            worklist=worklist,
            readings=readings,
            jobs=jobs,
            hub=ListHub(database, worklist),
            actors=Actors(settings.trusted_proxies),
            orthanc=orthanc,
            dispatcher=dispatcher,
            intake=intake,
            predictions=PredictionRecords(database),
            predict_limits=PredictLimits(
                upload_bytes=settings.predict_upload_mb * 1_000_000,
                wait_s=settings.predict_wait_s,
                keep=timedelta(seconds=settings.prediction_keep_s),
            ),
            site=SiteFacts(
                version=version("firstread"),
                dicom_host=settings.orthanc_dicom_host,
                dicom_port=settings.orthanc_dicom_port,
                dicom_aet=settings.orthanc_aet,
                upload_mb=settings.predict_upload_mb,
                viewer=OPEN_STUDY if settings.viewer_dir else None,
                target_wait=settings.site_rules.target_wait,
            ),
            dicomweb=DicomWebOrigin(
                url=settings.orthanc_url, root=settings.orthanc_dicomweb_root, auth=settings.orthanc_auth
            ),
            viewer_dir=settings.viewer_dir,
            explainer_url=settings.explainer_url or "" if settings.explainer == "openai" else "",
        )
    )
