"""The intake against a real Orthanc, PostgreSQL and Redis: nothing is lost, doubled, or listed for ever."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
import redis
from pydicom.uid import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from sqlalchemy import text
from structlog.testing import capture_logs

from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.intake.feed import FEED, Intake, IntakePace
from gateway.intake.orthanc import OrthancClient
from tests.servers import OrthancServer, RedisServer, free_ports, running
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference
from worklist.job import JobLimits, Queue
from worklist.order import OrderPriority
from worklist.reading import Actor, ActorSource, HowRead, ReadingState
from worklist.records import (
    Database,
    ExclusiveLock,
    IntakeRecords,
    Job,
    JobRecords,
    ListedStudy,
    ReadingRecords,
    Shown,
    StoredResult,
    Worklist,
)
from worklist.reports import NAMELESS
from worklist.scope import ScopeRules
from worklist.site import SiteRules
from worklist.study import StudyState

ANOTHER_FEED = "the change log is another one: Orthanc was emptied or replaced, looking at all it holds"
SOON_S = 20.0  # a patience that only a failure uses up
NEVER_QUIET = timedelta(hours=1)  # studies are complete by Orthanc's word alone, unless a test says otherwise
READER = Actor(name="Dr. Nowak", source=ActorSource.TYPED)

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


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
    """A hospital: its Orthanc, its database and broker, and as many gateways as a test starts."""

    orthanc: OrthancServer
    database: Database
    redis_url: str
    closing: ExitStack
    rules: SiteRules = field(default_factory=lambda: SiteRules(quiet=NEVER_QUIET, prior_after=None))
    jobs: JobRecords = field(init=False)

    def __post_init__(self) -> None:
        """Open the workers' side of the records."""
        self.jobs = JobRecords(self.database, self.rules, JobLimits())

    def intake(
        self,
        *,
        orthanc_url: str | None = None,
        quiet: timedelta = NEVER_QUIET,
        limits: JobLimits | None = None,
        report_titles: frozenset[str] = frozenset(),
        **pace: timedelta,
    ) -> Intake:
        """The intake of another gateway process, with connections of its own."""
        database = self.closing.enter_context(
            closing(Database(self.database.url.render_as_string(hide_password=False)))
        )
        lock = ExclusiveLock(database, 1)
        self.closing.callback(lock.release)
        sender = build_sender(self.redis_url)
        self.closing.callback(sender.close)
        rules = replace(self.rules, quiet=quiet)
        jobs = JobRecords(database, rules, limits or JobLimits())
        return Intake(
            orthanc=self.closing.enter_context(closing(OrthancClient(orthanc_url or self.orthanc.url, auth=None))),
            records=IntakeRecords(database, rules),
            readings=ReadingRecords(database=database, rules=rules),
            jobs=jobs,
            dispatcher=Dispatcher(jobs, sender),
            lock=lock,
            rules=ScopeRules(),
            report_titles=report_titles,
            pace=IntakePace(**pace),
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

    def listed(self, shown: Shown = Shown.LIST) -> dict[str, ListedStudy]:
        """The reading list by Study Instance UID."""
        return {study.study_instance_uid: study for study in Worklist(self.database, self.rules).page(shown=shown)[1]}

    def messages(self, queue: Queue) -> list[tuple[str, str]]:
        """Task name and job identifier of each message in the broker."""
        with redis.Redis.from_url(self.redis_url) as client:
            messages = [json.loads(message) for message in client.lrange(str(queue), 0, -1)]
        return [
            (message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0][0]) for message in messages
        ]

    def jobs_due(self, queue: Queue) -> list[str]:
        """The open jobs of a queue, as if no message had been sent."""
        self.jobs.forget_enqueued()
        return [job_id for job_id, _ in self.jobs.due(100, queue)]

    def due(self, queue: Queue) -> list[str]:
        """Study Instance UIDs of a queue's open jobs, as if no message had been sent."""
        query = text("SELECT study_instance_uid FROM jobs WHERE job_id = :job_id")
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
    report = film(study_instance_uid, SOPClassUID=ComprehensiveSRStorage, Modality="SR", Manufacturer="Firstread")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    return report


@pytest.fixture
def site(orthanc: OrthancServer, database: Database, redis_url: str) -> Iterator[Site]:
    """A hospital with an empty Orthanc, list and broker."""
    with ExitStack() as stack:
        yield Site(orthanc, database, redis_url, stack)


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
def answering(port: int, answer: bytes, hear: Callable[[bytes], None]) -> Iterator[None]:
    """A web server that hears what is posted and answers everything alike."""

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
            yield
        finally:
            server.shutdown()
            thread.join()


# ---- What comes in ----


def test_a_film_is_listed_and_handed_out_within_a_poll(site: Site) -> None:
    """Without any doorbell a film is on the list, and its job in the broker, shortly after it was stored."""
    with running_intake(site.intake(poll=timedelta(seconds=0.1))):
        wait_until(lambda: IntakeRecords(site.database, site.rules).cursor(FEED) is not None)
        (study,) = site.send(film(PatientName="Müller^Zoë", RequestedProcedurePriority="STAT"))
        wait_until(lambda: study in site.listed())
        wait_until(lambda: bool(site.messages(Queue.SCORE)))
    line = site.listed()[study]
    assert (line.patient_name, line.patient_id, line.accession_number, line.study_description, line.modality) == (
        "Müller^Zoë",
        "4711",
        "A1",
        "Chest PA",
        "DX",
    )
    assert (line.state, line.order_priority) == (StudyState.WAITING, OrderPriority.STAT)
    assert abs(datetime.now(UTC) - line.received_at) < timedelta(seconds=SOON_S)
    (message,) = site.messages(Queue.SCORE)
    job = site.jobs.claim(message[1], "w")
    assert job is not None
    assert (message[0], job.study_instance_uid) == ("firstread.score", study)


def test_the_doorbell_wakes_the_intake(site: Site) -> None:
    """Orthanc's plug-in rings, and the film is listed long before the next poll; a deletion is told as well."""
    intake = site.intake(poll=timedelta(hours=1))
    rung = []

    def hear(body: bytes) -> None:
        rung.append(json.loads(body))
        intake.ring(rung[-1]["deleted_studies"])

    with answering(site.orthanc.doorbell_port, b"", hear), running_intake(intake):
        (study,) = site.send(film())
        wait_until(lambda: study in site.listed())
        orthanc_id = site.delete(study)
        wait_until(lambda: study not in site.listed())
    assert {"deleted_studies": [orthanc_id]} in rung


def test_the_doorbell_survives_a_neighbour_that_speaks_no_http(site: Site) -> None:
    """Whatever answers at the gateway's port while it restarts, the next ring is heard again."""
    with socket.create_server(("127.0.0.1", site.orthanc.doorbell_port)) as stranger:
        site.send(film())
        caller, _ = stranger.accept()
        with caller:
            caller.recv(65_536)
            caller.sendall(b"SSH-2.0-stranger\r\n")
    time.sleep(0.5)  # for the plug-in to read that
    rung: list[bytes] = []
    with answering(site.orthanc.doorbell_port, b"", rung.append):
        site.send(film())
        wait_until(lambda: bool(rung))


def test_nothing_is_lost_while_the_gateway_is_away(site: Site) -> None:
    """Films that came meanwhile are listed by the next process."""
    site.intake().look()
    site.closing.close()
    studies = site.send(*[film() for _ in range(3)])
    site.intake().look()
    assert set(site.listed()) == set(studies)
    assert len(site.messages(Queue.SCORE)) == 3


def test_a_burst_longer_than_a_stretch_is_read_in_one_round(site: Site) -> None:
    """A change log that grew by several stretches is read to its end."""
    intake = site.intake()
    intake.look()
    studies = site.send(*[film() for _ in range(20)])
    assert site.changes("NewInstance") + site.changes("NewSeries") + site.changes("NewStudy") == 60
    intake.look()
    assert set(site.listed()) == set(studies)
    assert len(site.messages(Queue.SCORE)) == 20


def test_the_same_film_again_changes_nothing_and_other_pixels_do(site: Site) -> None:
    """Orthanc's own digest tells a repetition from a correction under the same UID."""
    intake = site.intake()
    sent = film()
    (study,) = site.send(sent)
    intake.look()
    site.work()
    scored = site.listed()[study]
    assert scored.score == 0.9
    site.send(sent)
    intake.look()
    assert site.listed()[study] == scored
    sent.PixelData = bytes(256)
    site.send(sent)
    intake.look()
    assert (site.listed()[study].state, site.listed()[study].score) == (StudyState.WAITING, None)
    assert site.due(Queue.SCORE) == [study]


def test_our_own_objects_make_no_work(site: Site) -> None:
    """Neither a report nor a crop of ours is listed, scored, or opens a revision, alone or in a study of films."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    wait_until(lambda: site.changes("StableStudy") == 1)
    intake.look()
    site.work()
    crop = film(study, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", Manufacturer="Firstread")
    site.send(crop, own_report(study), own_report(generate_uid()))
    intake.look()
    assert list(site.listed()) == [study]
    assert site.listed()[study].state is StudyState.REPORTED
    assert site.due(Queue.SCORE) == site.due(Queue.REPORT) == []


def test_a_stable_study_is_reported_after_its_films_are_scored(site: Site) -> None:
    """Orthanc's word that a study is stable makes the report due, once no film is left to score."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    wait_until(lambda: site.changes("StableStudy") == 1)
    intake.look()
    assert site.messages(Queue.REPORT) == []
    assert site.due(Queue.REPORT) == []
    site.work()
    assert site.listed()[study].state is StudyState.REPORTED


def test_the_first_start_looks_back_so_far(site: Site) -> None:
    """Films older than the site wants are left out, also where Orthanc's change log was deleted."""
    old = datetime.now(UTC)
    site.send(film())
    time.sleep(5)
    (new,) = site.send(film())

    def start_for_the_first_time() -> list[str]:
        with site.database.write() as session:
            session.execute(text("TRUNCATE feeds, studies CASCADE"))
        site.intake(lookback=datetime.now(UTC) - old - timedelta(seconds=2)).look()
        site.closing.close()
        return list(site.listed())

    assert start_for_the_first_time() == [new]
    site.orthanc.delete("/changes")
    assert start_for_the_first_time() == [new]
    (later,) = site.send(film())
    site.intake().look()
    assert set(site.listed()) == {new, later}


def test_a_quiet_study_is_reported_without_orthancs_word(site: Site) -> None:
    """A second without a new film completes a study, long before Orthanc would call it stable, and without a ring."""
    intake = site.intake(quiet=timedelta(seconds=1), poll=timedelta(hours=1))
    (study,) = site.send(film())
    intake.look()
    site.work(Queue.SCORE)
    intake.tick()
    assert site.due(Queue.REPORT) == []
    with running_intake(intake):
        intake.ring()
        wait_until(lambda: site.messages(Queue.REPORT) != [])
    (message,) = site.messages(Queue.REPORT)
    job = site.jobs.claim(message[1], "w")
    assert job is not None
    assert (message[0], job.study_instance_uid) == ("firstread.report", study)


def test_orthanc_that_forgets_a_study_stops_no_report(site: Site) -> None:
    """Orthanc that dies before its StableAge is up never says StableStudy; the report is made all the same."""
    intake = site.intake(quiet=timedelta(seconds=1))
    (study,) = site.send(film())
    site.orthanc.stop()
    site.orthanc.start()
    intake.look()
    site.work(Queue.SCORE)
    look_until(intake, lambda: site.due(Queue.REPORT) == [study])
    assert site.changes("StableStudy") == 0


def test_a_late_film_keeps_a_study_open(site: Site) -> None:
    """The quiet time counts from the last film, so that two films sent together make one report."""
    intake = site.intake(quiet=timedelta(seconds=2))
    intake.look()
    (study,) = site.send(film())
    intake.look()
    site.work(Queue.SCORE)
    time.sleep(1.2)
    site.send(film(study))
    intake.look()
    site.work(Queue.SCORE)
    time.sleep(1.2)
    intake.tick()
    assert site.due(Queue.REPORT) == []
    look_until(intake, lambda: site.due(Queue.REPORT) == [study])
    site.work(Queue.REPORT)
    assert site.listed()[study].state is StudyState.REPORTED
    with site.database.read() as session:
        assert session.execute(text("SELECT max(revision) FROM studies")).scalar_one() == 1


def test_the_list_tells_sex_age_and_when_the_film_was_taken(site: Site) -> None:
    """What a reader needs of the patient and the acquisition comes with the film."""
    site.send(film(PatientAge="071Y", AcquisitionDateTime="20260304083015+0100", StudyDate="20260304"))
    site.intake().look()
    (line,) = site.listed().values()
    assert (line.patient_sex, line.patient_age) == ("F", "071Y")
    assert line.acquired_at == datetime(2026, 3, 4, 7, 30, 15, tzinfo=UTC)


def test_a_film_of_long_ago_is_taken_for_a_prior(site: Site) -> None:
    """A study date beyond the site's limit puts a study among the priors, and none where the site takes none."""
    site.rules = replace(site.rules, prior_after=timedelta(days=30))
    long_ago = f"{datetime.now(UTC) - timedelta(days=40):%Y%m%d}"
    old, new, undated = site.send(film(StudyDate=long_ago), film(StudyDate=f"{datetime.now(UTC):%Y%m%d}"), film())
    site.intake().look()
    assert set(site.listed()) == {new, undated}
    assert list(site.listed(Shown.PRIOR)) == [old]


def test_the_broker_holds_few_messages(site: Site) -> None:
    """Of a long backlog only a part lies in the broker, so that a STAT study which comes now is next but few."""
    intake = site.intake()
    intake.look()
    site.send(*[film() for _ in range(80)])
    intake.look()
    intake.tick()
    assert len(site.messages(Queue.SCORE)) == 64
    (stat,) = site.send(film(RequestedProcedurePriority="STAT"))
    intake.look()
    assert len(site.messages(Queue.SCORE)) == 64
    with redis.Redis.from_url(site.redis_url) as client:
        client.rpop(str(Queue.SCORE))
    intake.tick()
    newest = site.messages(Queue.SCORE)[0]
    job = site.jobs.claim(newest[1], "w")
    assert job is not None
    assert job.study_instance_uid == stat


# ---- What is read ----


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


def test_a_verified_report_in_the_pacs_completes_the_reading(site: Site) -> None:
    """A radiologist's own report takes its study off the list, whoever was reading it, and names who verified it."""
    intake = site.intake()
    read, kept = site.send(film(), film())
    intake.look()
    ReadingRecords(database=site.database, rules=site.rules).claim(READER, read)
    site.send(report_of(read))
    intake.look()
    assert list(site.listed()) == [kept]
    reading = site.listed(Shown.READ)[read].reading
    assert (reading.state, reading.reader, reading.how) == (ReadingState.READ, "Nowak, Anna", HowRead.REPORT)
    site.send(film(read))
    intake.look()
    assert site.listed()[read].reading.returned_for == "new image"


def test_a_document_under_the_sites_own_title_completes_the_reading(site: Site) -> None:
    """An encapsulated PDF and an unverified SR count under a title that the site names, and under no other."""
    intake = site.intake(report_titles=frozenset({"radiology report", "18748-4"}))
    by_title, by_code, other, unverified = site.send(*[film() for _ in range(4)])
    intake.look()
    pdf = {"SOPClassUID": EncapsulatedPDFStorage, "Modality": "DOC", "VerificationFlag": None}
    site.send(
        report_of(by_title, **pdf, DocumentTitle="Radiology Report", ConceptNameCodeSequence=[]),
        report_of(by_code, VerificationFlag="UNVERIFIED", VerifyingObserverSequence=[]),
        report_of(other, **pdf, DocumentTitle="Consent form", ConceptNameCodeSequence=[]),
        report_of(unverified, VerificationFlag="UNVERIFIED", ConceptNameCodeSequence=[]),
    )
    intake.look()
    assert set(site.listed()) == {other, unverified}
    assert site.listed(Shown.READ)[by_code].reading.reader == NAMELESS


def test_our_own_report_completes_no_reading(site: Site) -> None:
    """Not even where somebody has verified it under a title of the site."""
    intake = site.intake(report_titles=frozenset({"18748-4"}))
    (study,) = site.send(film())
    intake.look()
    site.send(report_of(study, Manufacturer="Firstread"))
    intake.look()
    assert list(site.listed()) == [study]


# ---- What time brings ----


def test_a_claim_lapses_by_itself(site: Site) -> None:
    """Whoever holds the feed gives up the claim of a reader who went away."""
    site.rules = replace(site.rules, reading_lease=timedelta(seconds=1))
    intake = site.intake()
    (study,) = site.send(film())
    intake.look()
    ReadingRecords(database=site.database, rules=site.rules).claim(READER, study)
    assert site.listed()[study].reading.state is ReadingState.READING
    look_until(intake, lambda: site.listed()[study].reading.state is ReadingState.UNREAD)


def test_a_dead_workers_job_is_handed_out_again(site: Site) -> None:
    """A job whose holder does not renew its lease is due again, without anybody asking."""
    limits = JobLimits(lease=timedelta(seconds=1))
    intake = site.intake(limits=limits)
    site.send(film())
    intake.look()
    (message,) = site.messages(Queue.SCORE)
    assert JobRecords(site.database, site.rules, limits).claim(message[1], "dead") is not None
    look_until(intake, lambda: len(site.messages(Queue.SCORE)) == 2)
    assert site.jobs.claim(message[1], "alive") is not None


def test_a_step_of_housekeeping_that_fails_stops_no_other(site: Site) -> None:
    """A claim that cannot be given up is logged once and tried again, while films go on being listed."""
    site.rules = replace(site.rules, reading_lease=timedelta(milliseconds=1))
    intake = site.intake()
    (stuck,) = site.send(film(PatientName="Poison"))
    intake.look()
    ReadingRecords(database=site.database, rules=site.rules).claim(READER, stuck)
    refusal = "CHECK (NOT (patient_name = 'Poison' AND reading_state = 'unread'))"
    with site.database.write() as session:
        session.execute(text(f"ALTER TABLE studies ADD CONSTRAINT refusal {refusal}"))
    try:
        (study,) = site.send(film())
        with capture_logs() as logs:
            look_until(intake, lambda: not intake.is_reading)
            intake.tick()
        assert [log["step"] for log in logs] == ["lapse_claims"]
        assert set(site.listed()) == {stuck, study}
        assert len(site.messages(Queue.SCORE)) == 2
    finally:
        with site.database.write() as session:
            session.execute(text("ALTER TABLE studies DROP CONSTRAINT refusal"))
    look_until(intake, lambda: intake.is_reading)
    assert site.listed()[stuck].reading.state is ReadingState.UNREAD


# ---- What is refused ----


@pytest.mark.parametrize("is_first", [True, False])
def test_what_the_database_refuses_blocks_nothing_else(site: Site, is_first: bool) -> None:  # noqa: FBT001
    """A film that cannot be written is passed over, loudly, and the films around it are listed."""
    intake = site.intake()
    if not is_first:
        intake.look()
    refusing = "ALTER TABLE studies ADD CONSTRAINT refusal CHECK (patient_name <> 'Poison')"
    with site.database.write() as session:
        session.execute(text(refusing))
    try:
        studies = site.send(film(), film(PatientName="Poison"), film())
        with capture_logs() as logs:
            intake.look()
        assert set(site.listed()) == {studies[0], studies[2]}
        assert [log["event"] for log in logs] == ["passed over: the database refuses what this change brings"]
        assert "Poison" not in str(logs)
        (later,) = site.send(film())
        intake.look()
        assert later in site.listed()
        assert intake.is_reading
    finally:
        with site.database.write() as session:
            session.execute(text("ALTER TABLE studies DROP CONSTRAINT refusal"))


@pytest.mark.parametrize("damage", ["truncated", "absent"])
def test_a_file_that_orthanc_cannot_read_blocks_nothing_else(site: Site, damage: str) -> None:
    """It is listed by what Orthanc's index holds, and its job made, so that its failure shows; others go on."""
    intake = site.intake()
    intake.look()
    (broken,) = site.send(film())
    site.orthanc.spoil(broken, is_absent=damage == "absent")
    with capture_logs() as logs:
        (later,) = site.send(film())
        intake.look()
    assert logs == []
    assert set(site.listed()) == {broken, later}
    line = site.listed()[broken]
    assert (line.patient_name, line.modality, line.state) == ("Doe^Jane", "DX", StudyState.WAITING)
    assert set(site.due(Queue.SCORE)) == {broken, later}


def test_a_database_without_its_tables_loses_nothing(site: Site) -> None:
    """A fault of the database itself is no refusal: the feed waits until it is mended."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    with site.database.write() as session:
        session.execute(text("ALTER TABLE instances RENAME TO mislaid"))
    try:
        intake.look()
        assert not intake.is_reading
    finally:
        with site.database.write() as session:
            session.execute(text("ALTER TABLE mislaid RENAME TO instances"))
    intake.look()
    assert intake.is_reading
    assert list(site.listed()) == [study]


# ---- What goes away ----


def test_an_emptied_orthanc_is_noticed(site: Site) -> None:
    """What was deleted leaves the list, and what came afterwards is on it."""
    intake = site.intake()
    site.send(film(), film())
    intake.look()
    site.orthanc.delete_everything()
    (new,) = site.send(film())
    with capture_logs() as logs:
        intake.look()
    assert ANOTHER_FEED in [log["event"] for log in logs]
    assert list(site.listed()) == [new]
    with capture_logs() as logs:
        intake.look()
    assert logs == []


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_a_replaced_orthanc_is_noticed(site: Site, is_overtaken: bool) -> None:  # noqa: FBT001
    """Changes that are numbered from 1 again are read from the first, also when they have overtaken the cursor."""
    intake = site.intake()
    kept = film()
    studies = site.send(kept, film())
    intake.look()
    site.work()
    cursor = IntakeRecords(site.database, site.rules).cursor(FEED)
    assert cursor is not None

    site.orthanc.replace()
    new = site.send(kept)
    while is_overtaken and site.orthanc.get("/changes?last")["Last"] <= cursor.sequence:
        new += site.send(film())
    assert (site.orthanc.get("/changes?last")["Last"] > cursor.sequence) is is_overtaken
    intake.look()
    assert set(site.listed()) == set(new)
    assert studies[1] not in site.listed()
    new += site.send(film())
    intake.look()
    assert set(site.listed()) == set(new)


def test_results_that_a_replaced_orthanc_lacks_are_written_again(site: Site) -> None:
    """A study that was restored from its modality is reported anew, and not scored anew."""
    intake = site.intake(quiet=timedelta(seconds=1))
    intake.look()
    sent = film()
    (study,) = site.send(sent)
    wait_until(lambda: site.changes("StableStudy") == 1)
    intake.look()
    site.work()
    assert site.listed()[study].state is StudyState.REPORTED
    site.orthanc.replace()
    site.send(sent)
    intake.look()
    assert (site.listed()[study].state, site.listed()[study].score) == (StudyState.SCORED, 0.9)
    look_until(intake, lambda: site.due(Queue.REPORT) == [study])
    assert site.due(Queue.SCORE) == []


def test_deleting_the_newest_study_is_no_other_feed(site: Site) -> None:
    """Its changes are deleted with it, however many they were, and the feed is still known by older ones."""
    intake = site.intake()
    (old,) = site.send(film())
    intake.look()
    (newest,) = site.send(film())
    for _ in range(25):
        site.send(film(newest))
        intake.look()
    orthanc_id = site.delete(newest)
    with capture_logs() as logs:
        intake.look()
        intake.ring([orthanc_id])
        (new,) = site.send(film())
        intake.look()
    assert logs == []
    assert set(site.listed()) == {old, new}


def test_a_hint_of_a_deletion_is_checked(site: Site) -> None:
    """A study that still lies in Orthanc stays on the list, whoever says that it was deleted."""
    intake = site.intake()
    gone, kept = site.send(film(), film())
    intake.look()
    hints = [site.delete(gone), site.orthanc_id(kept), "nothing that Orthanc knows"]
    intake.ring(hints)
    intake.look()
    assert list(site.listed()) == [kept]


def test_a_hint_outlives_an_absent_orthanc(site: Site) -> None:
    """Where Orthanc cannot be asked, it is asked in the next round."""
    intake = site.intake()
    kept, gone = site.send(film(), film())
    intake.look()
    intake.ring([site.delete(gone)])
    site.orthanc.stop()
    intake.look()
    assert set(site.listed()) == {kept, gone}
    site.orthanc.start()
    intake.look()
    assert list(site.listed()) == [kept]


def test_patrol_finds_what_no_doorbell_told(site: Site) -> None:
    """A study that was not checked for a minute is looked up, and leaves the list where Orthanc has it no more."""
    intake = site.intake()
    gone, kept = site.send(film(), film())
    intake.look()
    site.delete(gone)
    intake.look()
    assert set(site.listed()) == {gone, kept}
    with site.database.write() as session:
        session.execute(text("UPDATE studies SET checked_at = checked_at - interval '61 seconds'"))
    intake.look()
    intake.look()
    assert list(site.listed()) == [kept]


def test_a_study_deleted_and_sent_again_is_reported_again(site: Site) -> None:
    """Whether its absence was noticed or not."""
    intake = site.intake()
    intake.look()
    seen, unseen = film(), film()
    site.send(film(), seen, unseen)
    wait_until(lambda: site.changes("StableStudy") == 3)
    intake.look()
    site.work()
    assert {study.state for study in site.listed().values()} == {StudyState.REPORTED}

    site.delete(unseen.StudyInstanceUID)
    intake.ring([site.delete(seen.StudyInstanceUID)])
    site.send(unseen)
    with capture_logs() as logs:
        intake.look()
        assert seen.StudyInstanceUID not in site.listed()
        assert site.listed()[unseen.StudyInstanceUID].state is StudyState.SCORED
        site.send(seen)
        intake.look()
    assert logs == []
    assert site.listed()[seen.StudyInstanceUID].state is StudyState.WAITING
    site.work(Queue.SCORE)
    look_until(intake, lambda: len(site.due(Queue.REPORT)) == 2)
    site.work()
    assert {study.state for study in site.listed().values()} == {StudyState.REPORTED}


# ---- Neighbours that fail ----


def test_an_absent_orthanc_is_waited_for(site: Site) -> None:
    """It is logged once, told by is_reading, and over when Orthanc is back."""
    intake = site.intake()
    intake.look()
    site.orthanc.stop()
    with capture_logs() as logs:
        for _ in range(3):
            intake.look()
        assert not intake.is_reading
        site.orthanc.start()
        (study,) = site.send(film())
        intake.look()
    assert [(log["event"], log["step"]) for log in logs] == [
        ("will be tried again", "read_feed"),
        ("works again", "read_feed"),
    ]
    assert intake.is_reading
    assert list(site.listed()) == [study]


@pytest.mark.parametrize("answer", [b"<h1>Maintenance</h1>", b"{}"])
def test_something_that_is_not_orthanc_does_not_end_the_intake(site: Site, answer: bytes) -> None:
    """A proxy's friendly page instead of Orthanc's answers is a trouble like any other, and logged once."""
    (port,) = free_ports(1)
    intake = site.intake(orthanc_url=f"http://127.0.0.1:{port}")
    with answering(port, answer, lambda _: None), capture_logs() as logs:
        intake.look()
        intake.look()
    assert not intake.is_reading
    assert [(log["event"], log["step"]) for log in logs] == [("will be tried again", "read_feed")]


def test_an_absent_broker_keeps_no_film_off_the_list(site: Site, redis_server: RedisServer) -> None:
    """All films are listed at once, and their jobs are handed out when the broker is back, though it forgot all."""
    intake = site.intake()
    intake.look()
    (first,) = site.send(film())
    intake.look()
    redis_server.stop()
    try:
        studies = site.send(*[film() for _ in range(20)])
        intake.look()
        assert set(site.listed()) == {first, *studies}
        assert not intake.is_reading
    finally:
        redis_server.start()
    intake.look()
    assert len(set(site.messages(Queue.SCORE))) == 21
    assert intake.is_reading


def test_an_intake_that_is_stuck_does_not_count_as_reading(site: Site) -> None:
    """A round that never ends, say behind another session's lock, raises no error: its silence tells."""
    intake = site.intake()
    intake.look()
    assert intake.is_reading
    assert intake.last_read_at is not None
    intake.last_read_at -= timedelta(minutes=2)
    assert not intake.is_reading
    intake.look()
    assert intake.is_reading


def test_one_intake_reads_at_a_time(site: Site) -> None:
    """The second of two gateways waits until the first one has gone, in whatever manner."""
    first, second = site.intake(), site.intake()
    first.look()
    second.look()
    assert (first.is_reading, second.is_reading, second.last_read_at) == (True, False, None)
    assert (first.is_standing_by, second.is_standing_by) == (False, True)
    (study,) = site.send(film())
    second.look()
    assert site.listed() == {}
    first.look()
    assert list(site.listed()) == [study]

    with site.database.write() as session:  # the first one's connections break
        session.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND granted")
        )
    look_until(second, lambda: second.is_reading)
    first.look()
    assert (first.is_reading, second.is_reading) == (False, True)
    (later,) = site.send(film())
    second.look()
    assert later in site.listed()


def test_an_orthanc_without_digests_is_read(site: Site, tmp_path: Path) -> None:
    """Where a hospital has turned Orthanc's digests off, films are listed all the same."""
    with running(OrthancServer(tmp_path, configuration={"StoreMD5ForAttachments": False})) as orthanc:
        sent = film()
        orthanc.post(sent)
        site.intake(orthanc_url=orthanc.url).look()
    assert list(site.listed()) == [sent.StudyInstanceUID]
    assert site.due(Queue.SCORE) == [sent.StudyInstanceUID]


def test_orthanc_counts_in_utc(site: Site, tmp_path: Path) -> None:
    """Where Orthanc's machine is in Tokyo, films are still received now, and not nine hours from now."""
    with running(OrthancServer(tmp_path, environment={"TZ": "Asia/Tokyo"})) as orthanc:
        before = datetime.now(UTC).replace(microsecond=0)
        instance = orthanc.post(film())
        site.intake(orthanc_url=orthanc.url).look()
        with closing(OrthancClient(orthanc.url, auth=None)) as client:
            moments: list[Any] = [client.reception_date(instance), *(change.date for change in client.changes(0))]
    moments += [study.received_at for study in site.listed().values()]
    assert len(moments) > 3
    assert all(before <= moment <= datetime.now(UTC) for moment in moments)
