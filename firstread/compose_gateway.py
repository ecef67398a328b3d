"""The composition root of the gateway: settings in, a running application out. It loads no model."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI

from firstread.access_settings import is_loopback
from firstread.compose import build_job_records, build_orthanc_client
from firstread.settings import Settings
from gateway.access.actors import Actors
from gateway.access.issuer import Issuer
from gateway.access.keys import ApiKeys
from gateway.access.login import RoleNames, WaysIn
from gateway.access.oidc import Client
from gateway.access.sessions import Sessions
from gateway.app import GatewayParts, build_app
from gateway.audit.message import Source
from gateway.audit.recorder import AuditRecorder
from gateway.audit.syslog import LEASE, AuditTeller, Repository, SyslogSender
from gateway.dicomweb.passthrough import DicomWebOrigin
from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.intake.feed import FEED, Intake, IntakePace
from gateway.intake.marks import MARKS, Marker
from gateway.list.hub import ListHub
from gateway.list.pages import SiteFacts
from gateway.list.viewer import OPEN_STUDY
from gateway.metrics import Metrics
from gateway.predict.routes import PredictLimits
from gateway.room import Room
from gateway.search.pacs import PacsStudies
from gateway.search.seen import SeenStudies
from gateway.search.studies import StudySearch
from gateway.simulate.routes import SimulatedModel
from gateway.workitems.hub import WorkitemHub
from gateway.workitems.routes import WorkitemService
from gateway.workitems.subscribers import SubscriberService
from worklist.errors import InvalidInput, ModelUnavailable
from worklist.pacs_connection import trusting
from worklist.records import (
    AuditRecords,
    ChoiceRecords,
    Database,
    IntakeRecords,
    JobRecords,
    Lease,
    Measures,
    OpeningRecords,
    PredictionRecords,
    ReadingRecords,
    RetentionRecords,
    SessionRecords,
    StudyMarks,
    StudySearches,
    SubscriptionRecords,
    UploadFiles,
    WorkitemEvents,
    WorkitemRecords,
    WorkitemSearches,
    Worklist,
)
from worklist.triage import TriagePolicy


def build_gateway(settings: Settings) -> FastAPI:
    """The gateway's application.

    Raises:
        InvalidInput: open_to_anybody, others would reach it and nobody is asked to log in; bad_api_keys_file.
    """
    if not settings.is_login_required and not is_loopback(settings.reached_at):
        raise InvalidInput(
            "open_to_anybody",
            f"FIRSTREAD_AUTH=off asks nobody to log in, and others reach the gateway at {settings.reached_at}: "
            "set FIRSTREAD_AUTH=on, or FIRSTREAD_HTTP_HOST=127.0.0.1",
        )
    database = Database(settings.database_url)
    orthanc = build_orthanc_client(settings)
    rules = settings.site_rules
    records, jobs = IntakeRecords(database, rules), build_job_records(settings, database)
    readings, worklist = ReadingRecords(database=database, rules=rules), Worklist(database, rules)
    actors = Actors(settings.trusted_proxies, is_login_required=settings.is_login_required)
    workitems = WorkitemRecords(database=database, rules=rules)
    workitem_hub = WorkitemHub(WorkitemEvents(database), workitems)
    dispatcher = Dispatcher(jobs, build_sender(settings.broker_url))
    intake = Intake(
        orthanc=orthanc,
        records=records,
        readings=readings,
        jobs=jobs,
        dispatcher=dispatcher,
        lease=Lease(database, FEED),
        report_titles=settings.report_titles,
        pace=IntakePace(poll=timedelta(seconds=settings.poll_s), lookback=timedelta(hours=settings.lookback_h)),
        retention=RetentionRecords(database=database, keep_for=rules.keep_for) if rules.keep_for else None,
    )
    searches, pacs = StudySearches(database), PacsStudies(orthanc)
    room, audit = _room(settings, database), AuditRecords(database=database)
    return build_app(
        GatewayParts(
            database=database,
            records=records,
            worklist=worklist,
            readings=readings,
            choices=ChoiceRecords(database=database, rules=rules),
            jobs=jobs,
            hub=ListHub(database, worklist, beside=workitem_hub.look),
            actors=actors,
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
            simulated=_simulated_model(settings, jobs),
            site=SiteFacts(
                version=version("firstread"),
                dicom_host=settings.shown_dicom_host or settings.orthanc_dicom_host,
                dicom_port=settings.shown_dicom_port or settings.orthanc_dicom_port,
                dicom_aet=settings.orthanc_aet,
                upload_mb=settings.predict_upload_mb,
                viewer=OPEN_STUDY if settings.viewer_dir else None,
                is_speech_heard=settings.dictation != "off",
                own_viewer=settings.viewer_url,
                target_wait=settings.site_rules.target_wait,
            ),
            dicomweb=DicomWebOrigin(
                url=settings.orthanc_url,
                root=settings.orthanc_dicomweb_root,
                auth=settings.orthanc_auth,
                tls=trusting(settings.orthanc_ca_file),
                check_drawable=orthanc.check_drawable,
                accepts=settings.accept_stow,
                is_seen=SeenStudies(records=searches, pacs=pacs).is_seen,
            ),
            search=StudySearch(searches, pacs),
            hosts=frozenset({*settings.names, *_own_names(settings)}),
            workitems=WorkitemService(
                records=workitems,
                searches=WorkitemSearches(database),
                actors=actors,
            ),
            subscribers=SubscriberService(
                records=SubscriptionRecords(database=database), hub=workitem_hub, actors=actors
            ),
            stow_bytes=settings.stow_mb * 1_000_000,
            doorbell_secret=settings.doorbell_secret.get_secret_value(),
            room=room,
            metrics=Metrics(
                version=version("firstread"),
                measures=Measures(database, rules.target_wait),
                records=records,
                intake=intake,
                folders=room.folders,
            ),
            recorder=AuditRecorder(audit, "gateway"),
            teller=_teller(settings, database, audit),
            openings=OpeningRecords(database=database),
            ways_in=_ways_in(settings, database),
            is_https=settings.is_https,
            viewer_dir=settings.viewer_dir,
            is_speech_heard=settings.dictation != "off",
            explainer_url=settings.explainer_url or "" if settings.explainer == "openai" else "",
            has_language_model=settings.explainer == "openai",
            marker=Marker(orthanc, StudyMarks(database), records, Lease(database, MARKS))
            if settings.mark_studies
            else None,
        )
    )


def _ways_in(settings: Settings, database: Database) -> WaysIn | None:
    if not settings.is_login_required:
        return None
    return WaysIn(
        role_names=RoleNames(names=settings.role_names, default=settings.default_role),
        sites=settings.shared_by,
        keys=ApiKeys(settings.api_keys_file) if settings.api_keys_file else None,
        is_proxy_believed=settings.proxy_login,
        client=_client(settings),
        sessions=Sessions(
            SessionRecords(
                database=database,
                idle=timedelta(minutes=settings.session_idle_min),
                longest=timedelta(hours=settings.session_h),
            ),
            is_https=settings.is_https,
            sites=settings.shared_by,
        )
        if settings.oidc_issuer
        else None,
        openings=OpeningRecords(database=database),
        plugin_secret=settings.doorbell_secret.get_secret_value(),
        requests_per_min=settings.requests_per_min,
    )


def _client(settings: Settings) -> Client | None:
    if not settings.oidc_issuer or not settings.public_url:
        return None
    return Client(
        issuer=Issuer(settings.oidc_issuer, trusting(settings.oidc_ca_file, "FIRSTREAD_OIDC_CA_FILE")),
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value(),
        public_url=settings.public_url,
        scopes=settings.oidc_scopes,
        roles_claim=settings.oidc_roles_claim,
        name_claim=settings.oidc_name_claim,
        audience=settings.oidc_audience,
    )


def _own_names(settings: Settings) -> set[str]:
    """The name under which the gateway listens; where that is every address, the machine's."""
    listens = settings.http_host
    return {socket.gethostname()} if listens in {"", "0.0.0.0", "::"} else {listens}  # noqa: S104 - compared, not bound


def _teller(settings: Settings, database: Database, audit: AuditRecords) -> AuditTeller | None:
    if not settings.audit_syslog:
        return None
    repository = Repository.at(settings.audit_syslog, settings.audit_ca_file)
    return AuditTeller(audit, Lease(database, LEASE), SyslogSender(repository, Source.here()))


def _room(settings: Settings, database: Database) -> Room:
    folders = {"uploads": settings.upload_dir.absolute()}
    if database.is_sqlite and database.url.database:
        folders["the database"] = Path(database.url.database).absolute().parent
    if settings.model_dir:
        folders["models"] = settings.model_dir.absolute()
    return Room(folders=folders, least_bytes=settings.least_free_mb * 1_000_000)


def _simulated_model(settings: Settings, jobs: JobRecords) -> SimulatedModel:
    """What a simulation supposes of the model: from the JSON files beside its weights, read once somebody simulates."""

    def usual() -> TriagePolicy:
        from models.evaluation.shipped import scorer_card  # noqa: PLC0415 - until then nothing of models is loaded

        try:
            card = scorer_card(settings.scorer, settings.model_dir)
        except ModelUnavailable:  # the weights lie where the workers are
            card = scorer_card(settings.scorer)
        return jobs.policy_of(card)

    def aucs(sha256: str) -> Mapping[str, float]:
        from models.evaluation.shipped import shipped_aucs  # noqa: PLC0415

        return shipped_aucs(sha256)

    return SimulatedModel(usual=usual, aucs=aucs)
