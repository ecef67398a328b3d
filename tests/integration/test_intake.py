"""The intake against a real Orthanc, PostgreSQL and Redis: nothing is lost, doubled, or listed for ever."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
import redis
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
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
from worklist.finding import Analysis
from worklist.order import OrderPriority
from worklist.records import (
    Database,
    ExclusiveLock,
    IntakeRecords,
    JobLimits,
    JobRecords,
    ListedStudy,
    ReadingList,
    StoredResult,
)
from worklist.scope import ScopeRules
from worklist.study import JobPath, ReadingPolicy, StudyState

MakeAnalysis = Callable[..., Analysis]

ANOTHER_FEED = "the change log is another one: Orthanc was emptied or replaced, looking at all it holds"
SOON_S = 20.0  # a patience that only a failure uses up

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
    make_analysis: MakeAnalysis
    closing: ExitStack
    jobs: JobRecords = field(init=False)

    def __post_init__(self) -> None:
        """Open the workers' side of the records."""
        self.jobs = JobRecords(self.database, ReadingPolicy(), JobLimits())

    def intake(self, *, orthanc_url: str | None = None, broker_url: str | None = None, **pace: timedelta) -> Intake:
        """The intake of another gateway process, with connections of its own."""
        database = self.closing.enter_context(
            closing(Database(self.database.url.render_as_string(hide_password=False)))
        )
        lock = ExclusiveLock(database, 1)
        self.closing.callback(lock.release)
        sender = build_sender(broker_url or self.redis_url)
        self.closing.callback(sender.close)
        return Intake(
            orthanc=self.closing.enter_context(closing(OrthancClient(orthanc_url or self.orthanc.url, auth=None))),
            records=IntakeRecords(database, ReadingPolicy()),
            dispatcher=Dispatcher(JobRecords(database, ReadingPolicy(), JobLimits()), sender),
            lock=lock,
            rules=ScopeRules(),
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

    def listed(self) -> dict[str, ListedStudy]:
        """The reading list by Study Instance UID."""
        return {study.study_instance_uid: study for study in ReadingList(self.database).page()[1]}

    def messages(self, path: JobPath) -> list[tuple[str, str]]:
        """Task name and job identifier of each message in the broker."""
        with redis.Redis.from_url(self.redis_url) as client:
            messages = [json.loads(message) for message in client.lrange(str(path), 0, -1)]
        return [
            (message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0][0]) for message in messages
        ]

    def due(self, path: JobPath) -> list[str]:
        """Study Instance UIDs of a path's open jobs, as if no message had been sent."""
        self.jobs.forget_enqueued()
        return [job.study_instance_uid for job in self.jobs.due(datetime.now(UTC), 100) if job.path is path]

    def work(self, *paths: JobPath) -> None:
        """Do every open job of these paths (all) as a worker does, with an SR in Orthanc as the result of a report."""
        for path in paths or JobPath:
            self.jobs.forget_enqueued()
            for due in self.jobs.due(datetime.now(UTC), 100):
                job = self.jobs.claim(due.job_id, "w", datetime.now(UTC)) if due.path is path else None
                if job is None:
                    continue
                analysis = self.make_analysis(0.9, sop_instance_uid=job.sop_instance_uid)
                if path is JobPath.SCORE:
                    assert self.jobs.complete_score(job.job_id, "w", analysis, datetime.now(UTC))
                    continue
                report = own_report(job.study_instance_uid)
                self.send(report)
                result = StoredResult(
                    sop_instance_uid=report.SOPInstanceUID,
                    series_instance_uid=report.SeriesInstanceUID,
                    sop_class_uid=report.SOPClassUID,
                    position=0,
                )
                assert self.jobs.complete_report(job.job_id, "w", analysis, [result], datetime.now(UTC))


def own_report(study_instance_uid: str) -> pydicom.Dataset:
    """A document as Firstread writes it, as far as the intake can tell."""
    report = film(study_instance_uid, SOPClassUID=ComprehensiveSRStorage, Modality="SR", Manufacturer="Firstread")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    return report


@pytest.fixture
def site(orthanc: OrthancServer, database: Database, redis_url: str, make_analysis: MakeAnalysis) -> Iterator[Site]:
    """A hospital with an empty Orthanc, list and broker."""
    with ExitStack() as stack:
        yield Site(orthanc, database, redis_url, make_analysis, stack)


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
        wait_until(lambda: IntakeRecords(site.database, ReadingPolicy()).cursor(FEED) is not None)
        (study,) = site.send(film(PatientName="Müller^Zoë", RequestedProcedurePriority="STAT"))
        wait_until(lambda: study in site.listed())
        wait_until(lambda: bool(site.messages(JobPath.SCORE)))
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
    (message,) = site.messages(JobPath.SCORE)
    job = site.jobs.claim(message[1], "w", datetime.now(UTC))
    assert job is not None
    assert (message[0], job.study_instance_uid) == ("firstread.score_study", study)


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
    assert len(site.messages(JobPath.SCORE)) == 3


def test_a_burst_longer_than_a_stretch_is_read_in_one_round(site: Site) -> None:
    """A change log that grew by several stretches is read to its end."""
    intake = site.intake()
    intake.look()
    studies = site.send(*[film() for _ in range(20)])
    assert site.changes("NewInstance") + site.changes("NewSeries") + site.changes("NewStudy") == 60
    intake.look()
    assert set(site.listed()) == set(studies)
    assert len(site.messages(JobPath.SCORE)) == 20


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
    assert site.due(JobPath.SCORE) == [study]


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
    assert site.due(JobPath.SCORE) == site.due(JobPath.REPORT) == []


def test_a_stable_study_is_reported_after_its_films_are_scored(site: Site) -> None:
    """Orthanc's word that a study is stable makes the report due, once no film is left to score."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    wait_until(lambda: site.changes("StableStudy") == 1)
    intake.look()
    assert site.messages(JobPath.REPORT) == []
    assert site.due(JobPath.REPORT) == []
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


def test_a_report_is_made_though_orthanc_forgot_to_call_the_study_stable(site: Site) -> None:
    """Orthanc that dies before its StableAge is up never says StableStudy; it is asked instead."""
    intake = site.intake(quiet=timedelta(seconds=1))
    (study,) = site.send(film())
    site.orthanc.stop()
    site.orthanc.start()
    intake.look()
    site.work(JobPath.SCORE)
    look_until(intake, lambda: site.due(JobPath.REPORT) == [study])
    assert site.changes("StableStudy") == 0


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
    assert set(site.due(JobPath.SCORE)) == {broken, later}


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
    cursor = IntakeRecords(site.database, ReadingPolicy()).cursor(FEED)
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
    look_until(intake, lambda: site.due(JobPath.REPORT) == [study])
    assert site.due(JobPath.SCORE) == []


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
    site.work(JobPath.SCORE)
    look_until(intake, lambda: len(site.due(JobPath.REPORT)) == 2)
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
    assert len(set(site.messages(JobPath.SCORE))) == 21
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
    assert site.due(JobPath.SCORE) == [sent.StudyInstanceUID]


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
