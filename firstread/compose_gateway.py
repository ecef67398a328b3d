"""The composition root of the gateway: settings in, a running application out. It loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

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
from gateway.room import Room
from gateway.search.pacs import PacsStudies
from gateway.search.studies import StudySearch
from gateway.simulate.routes import SimulatedModel
from worklist.errors import ModelUnavailable
from worklist.pacs_connection import trusting
from worklist.records import (
    Database,
    IntakeRecords,
    Lease,
    PredictionRecords,
    ReadingRecords,
    StudySearches,
    UploadFiles,
    Worklist,
)
from worklist.triage import TriagePolicy


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
            predictions=PredictionRecords(database, UploadFiles(settings.upload_dir)),
            predict_limits=PredictLimits(
                upload_bytes=settings.predict_upload_mb * 1_000_000,
                in_hand_bytes=settings.predict_in_hand_mb * 1_000_000,
                wait_s=settings.predict_wait_s,
                keep=timedelta(seconds=settings.prediction_keep_s),
            ),
            simulated=_simulated_model(settings),
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
                url=settings.orthanc_url,
                root=settings.orthanc_dicomweb_root,
                auth=settings.orthanc_auth,
                tls=trusting(settings.orthanc_ca_file),
                check_drawable=orthanc.check_drawable,
            ),
            search=StudySearch(StudySearches(database), PacsStudies(orthanc)),
            stow_bytes=settings.stow_mb * 1_000_000,
            doorbell_secret=settings.doorbell_secret.get_secret_value(),
            room=_room(settings, database),
            viewer_dir=settings.viewer_dir,
            explainer_url=settings.explainer_url or "" if settings.explainer == "openai" else "",
        )
    )


def _room(settings: Settings, database: Database) -> Room:
    folders = {"uploads": settings.upload_dir.absolute()}
    if database.is_sqlite and database.url.database:
        folders["the database"] = Path(database.url.database).absolute().parent
    if settings.model_dir:
        folders["models"] = settings.model_dir.absolute()
    return Room(folders=folders, least_bytes=settings.least_free_mb * 1_000_000)


def _simulated_model(settings: Settings) -> SimulatedModel:
    """What a simulation supposes of the model: from the JSON files beside its weights, read once somebody simulates."""

    def usual() -> TriagePolicy:
        from models.evaluation.shipped import scorer_card  # noqa: PLC0415 - until then nothing of models is loaded

        try:
            card = scorer_card(settings.scorer, settings.model_dir)
        except ModelUnavailable:  # the weights lie where the workers are
            card = scorer_card(settings.scorer)
        return TriagePolicy.of(card, settings.site_rules.triage)

    def aucs(sha256: str) -> Mapping[str, float]:
        from models.evaluation.shipped import shipped_aucs  # noqa: PLC0415

        return shipped_aucs(sha256)

    return SimulatedModel(usual=usual, aucs=aucs)
