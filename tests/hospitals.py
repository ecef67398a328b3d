"""A hospital for tests of the intake: real Orthanc, PostgreSQL and Redis, and a clock that can be put forward."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pydicom
import redis
from pydicom.uid import (
    BasicTextSRStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from sqlalchemy import text

from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.intake.feed import FEED, Intake, IntakePace
from gateway.intake.orthanc import OrthancClient
from tests.servers import OrthancServer
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference
from worklist.job import JobLimits, Queue
from worklist.records import (
    Database,
    IntakeRecords,
    Job,
    JobRecords,
    Lease,
    ListedStudy,
    ReadingRecords,
    RetentionRecords,
    Shown,
    StoredResult,
    Worklist,
)
from worklist.site import SiteRules

SOON_S = 60.0  # a patience that only a failure uses up
NEVER_QUIET = timedelta(hours=1)  # studies are complete by Orthanc's word alone, unless a test says otherwise


def film(study_instance_uid: str | None = None, **attributes: object) -> pydicom.Dataset:
    """A small chest film, of a new study where none is named."""
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.StudyInstanceUID = study_instance_uid or generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Doe^Jane", "4711", "", "F"
    dataset.AccessionNumber, dataset.StudyDescription, dataset.StudyID = "A1", "Chest PA", ""
    dataset.Manufacturer, dataset.Modality, dataset.BodyPartExamined = "Modalities Inc", "DX", "CHEST"
    dataset.ViewPosition, dataset.PatientOrientation = "PA", ["L", "F"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = bytes(range(256))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def look_until(intake: Intake, condition: Callable[[], bool]) -> None:
    """Let an intake look until something has happened."""

    def look() -> bool:
        intake.look()
        return condition()

    wait_until(look)


@dataclass
class Site:
    """A hospital: its Orthanc, its database and broker, and as many gateways as a test starts.

    Attributes:
        rules: the site's choices; by themselves no study is a prior, and none is complete but by Orthanc's word.
        ahead: how far its clock is put forward.
        gateways: closing it ends all gateways.
    """

    orthanc: OrthancServer
    database: Database
    redis_url: str
    closing: ExitStack
    rules: SiteRules = field(default_factory=lambda: SiteRules(quiet=NEVER_QUIET, prior_after=None))
    ahead: timedelta = timedelta(0)
    gateways: ExitStack = field(default_factory=ExitStack)
    jobs: JobRecords = field(init=False)

    def __post_init__(self) -> None:
        """Open the workers' side of the records."""
        self.database = self._open_database(self.closing)
        self.closing.enter_context(self.gateways)
        self.jobs = JobRecords(self.database, self.rules, JobLimits())

    def _open_database(self, stack: ExitStack) -> Database:
        url = self.database.url.render_as_string(hide_password=False)
        database = Database(url, clock=lambda _: datetime.now(UTC) + self.ahead)
        return stack.enter_context(closing(database))

    @property
    def readings(self) -> ReadingRecords:
        """What people do."""
        return ReadingRecords(database=self.database, rules=self.rules)

    def intake(
        self,
        *,
        orthanc_url: str | None = None,
        quiet: timedelta = NEVER_QUIET,
        report_titles: frozenset[str] = frozenset(),
        **pace: timedelta,
    ) -> Intake:
        """The intake of another gateway process, with connections of its own; one look sees the whole past."""
        database = self._open_database(self.gateways)
        lease = Lease(database, FEED)
        self.gateways.callback(lease.release)
        sender = build_sender(self.redis_url)
        self.gateways.callback(sender.close)
        orthanc = OrthancClient(orthanc_url or self.orthanc.url, auth=None, timeout_s=SOON_S)
        rules = replace(self.rules, quiet=quiet)
        jobs = JobRecords(database, rules, JobLimits())
        return Intake(
            orthanc=self.gateways.enter_context(closing(orthanc)),
            records=IntakeRecords(database, rules),
            readings=ReadingRecords(database=database, rules=rules),
            jobs=jobs,
            dispatcher=Dispatcher(jobs, sender),
            lease=lease,
            report_titles=report_titles,
            pace=IntakePace(**{"past": timedelta(hours=1)} | pace),
            retention=RetentionRecords(database=database, keep_for=rules.keep_for) if rules.keep_for else None,
        )

    def send(self, *films: pydicom.Dataset) -> list[str]:
        """Store films in Orthanc; returns their Study Instance UIDs."""
        for dataset in films:
            self.orthanc.post(dataset)
        return [str(dataset.StudyInstanceUID) for dataset in films]

    def orthanc_id(self, study_instance_uid: str) -> str:
        """Orthanc's identifier of a study."""
        with self.database.read() as session:
            query = text("SELECT orthanc_id FROM studies WHERE study_instance_uid = :uid")
            return str(session.execute(query, {"uid": study_instance_uid}).scalar_one())

    def delete(self, study_instance_uid: str) -> str:
        """Delete a study from Orthanc; returns Orthanc's identifier of it."""
        orthanc_id = self.orthanc_id(study_instance_uid)
        self.orthanc.delete(f"/studies/{orthanc_id}")
        return orthanc_id

    def changes(self, change_type: str) -> int:
        """How many changes of a type Orthanc's log holds."""
        return [change["ChangeType"] for change in self.orthanc.get("/changes?limit=1000")["Changes"]].count(
            change_type
        )

    def wait_until_stable(self, *study_instance_uids: str) -> None:
        """Wait until Orthanc's log has called studies stable with all that they hold."""
        for uid in study_instance_uids:
            study = self.orthanc.study(uid)
            held = {one["ID"] for one in self.orthanc.get(f"/studies/{study}/instances")}
            wait_until(partial(self._is_stable, {("NewInstance", one) for one in held} | {("StableStudy", study)}))

    def _is_stable(self, told: set[tuple[str, str]]) -> bool:
        changes = self.orthanc.get("/changes?limit=1000")["Changes"]
        return [one["ChangeType"] for one in changes if (one["ChangeType"], one["ID"]) in told][-1:] == ["StableStudy"]

    def listed(self, shown: Shown = Shown.LIST) -> dict[str, ListedStudy]:
        """The reading list by Study Instance UID."""
        return {study.study_instance_uid: study for study in Worklist(self.database, self.rules).page(shown=shown)[1]}

    def messages(self, queue: Queue) -> list[tuple[str, str]]:
        """Task name and job identifier of each message in the broker."""
        with redis.Redis.from_url(self.redis_url) as client:
            messages = [json.loads(message) for message in client.lrange(queue.task, 0, -1)]
        return [
            (message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0][0]) for message in messages
        ]

    def take(self, queue: Queue) -> list[str]:
        """The identifiers of the jobs whose messages wait in the broker, which a worker takes out of it."""
        taken = [job_id for _, job_id in self.messages(queue)]
        with redis.Redis.from_url(self.redis_url) as client:
            client.ltrim(queue.task, len(taken), -1)
        return taken

    def jobs_due(self, queue: Queue) -> list[str]:
        """The open jobs of a queue, as if no message had been sent."""
        self.jobs.forget_enqueued()
        return [job_id for job_id, _ in self.jobs.due(100, queue)]

    def due(self, queue: Queue) -> list[str]:
        """Study Instance UIDs of a queue's open jobs, as if no message had been sent."""
        query = text(
            "SELECT study_instance_uid FROM studies JOIN jobs ON study_orthanc_id = orthanc_id WHERE job_id = :job_id"
        )
        job_ids = self.jobs_due(queue)
        with self.database.read() as session:
            return [str(session.execute(query, {"job_id": job_id}).scalar_one()) for job_id in job_ids]

    def work(self, *queues: Queue) -> None:
        """Do every open job of these queues (both) as a worker does, with an SR in Orthanc as a report's result."""
        for queue in queues or (Queue.SCORE, Queue.REPORT):
            for job_id in self.jobs_due(queue):
                job = self.jobs.claim(job_id, "w")
                if job is None:
                    continue
                if queue is Queue.SCORE:
                    assert self.jobs.complete_score(job_id, "w", analysis_of(job))
                    continue
                subject = self.jobs.report_subject(job)
                assert self.jobs.keep_report(job_id, "w", subject, subject.analysis)
                report = own_report(job.study_instance_uid)
                self.send(report)
                result = StoredResult(
                    sop_instance_uid=report.SOPInstanceUID,
                    series_instance_uid=report.SeriesInstanceUID,
                    sop_class_uid=report.SOPClassUID,
                    position=0,
                )
                assert self.jobs.complete_report(job_id, "w", [result])


def analysis_of(job: Job) -> Analysis:
    """What a model says of a job's image: effusion, 0.9."""
    finding = Finding(type=FindingType.PLEURAL_EFFUSION, probability=0.9, threshold=0.5)
    return Analysis(
        images=(
            ImageReference(
                study_instance_uid=job.study_instance_uid,
                series_instance_uid=job.series_instance_uid,
                sop_class_uid=str(DigitalXRayImageStorageForPresentation),
                sop_instance_uid=job.sop_instance_uid,
                rows=16,
                columns=16,
            ),
        ),
        scorer=Algorithm(name="a model", version="1", sha256="0" * 64, device_uid="2.25.1"),
        findings=(finding,),
        score=0.9,
        threshold=0.5,
        completed_at=datetime.now(UTC),
        elapsed_ms=12.3,
    )


def own_report(study_instance_uid: str) -> pydicom.Dataset:
    """A document as Firstread writes it, as far as the intake can tell."""
    report = film(study_instance_uid, SOPClassUID=EnhancedSRStorage, Modality="SR", Manufacturer="Firstread")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    return report


def report_of(study_instance_uid: str, **attributes: object) -> pydicom.Dataset:
    """A radiologist's verified report."""
    report = film(study_instance_uid, SOPClassUID=BasicTextSRStorage, Modality="SR", Manufacturer="Reports Inc")
    for keyword in ("PixelData", "Rows", "Columns", "BodyPartExamined", "ViewPosition", "PatientOrientation"):
        delattr(report, keyword)
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "VERIFIED"
    observer, concept = pydicom.Dataset(), pydicom.Dataset()
    observer.VerifyingObserverName = "Nowak^Anna"
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = (
        "18748-4",
        "LN",
        "Diagnostic imaging report",
    )
    report.VerifyingObserverSequence, report.ConceptNameCodeSequence = [observer], [concept]
    for keyword, value in attributes.items():
        setattr(report, keyword, value)
    return report


@contextmanager
def running_intake(intake: Intake) -> Iterator[None]:
    """An intake that looks by itself for the time of a block."""
    thread = threading.Thread(target=intake.run)
    thread.start()
    try:
        yield
    finally:
        intake.stop()
        thread.join(SOON_S)
        assert not thread.is_alive()


@contextmanager
def answering(port: int, answer: bytes, hear: Callable[[bytes], None]) -> Iterator[int]:
    """A web server that hears what is posted and answers everything alike; its port, where 0 asks for any."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hear(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
