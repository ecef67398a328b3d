"""What the holder of the feed does by the clock, and what a radiologist's report in the PACS does to a reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import EncapsulatedPDFStorage
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.hospitals import Site, film, look_until, report_of, running_intake, wait_until
from tests.servers import OrthancServer, running
from worklist.job import Queue
from worklist.reading import Actor, ActorSource, HowRead, ReadingState
from worklist.records import Database, Shown
from worklist.reports import NAMELESS
from worklist.study import StudyState

READER = Actor(name="Dr. Nowak", source=ActorSource.TYPED)

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def site(orthanc: OrthancServer, database: Database, redis_url: str) -> Iterator[Site]:
    """A hospital with an empty Orthanc, list and broker."""
    with ExitStack() as stack:
        yield Site(orthanc, database, redis_url, stack)


@pytest.fixture
def slow_to_call_stable(tmp_path: Path) -> Iterator[OrthancServer]:
    """An Orthanc that calls no study stable while a test lasts."""
    with running(OrthancServer(tmp_path, configuration={"StableAge": 3600})) as orthanc:
        yield orthanc


# ---- When a study is complete ----


def test_a_stable_study_is_reported_after_its_films_are_scored(site: Site) -> None:
    """Orthanc's word that a study is stable makes the report due, once no film is left to score."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    site.wait_until_stable(study)
    intake.look()
    assert site.messages(Queue.REPORT) == []
    assert site.due(Queue.REPORT) == []
    site.work()
    assert site.listed()[study].state is StudyState.REPORTED


def test_a_quiet_study_is_reported_without_orthancs_word(site: Site, slow_to_call_stable: OrthancServer) -> None:
    """A quiet time without a new film completes a study, before Orthanc would call it stable, and without a ring."""
    site.orthanc = slow_to_call_stable
    intake = site.intake(quiet=timedelta(hours=1), poll=timedelta(hours=1))
    (study,) = site.send(film())
    intake.look()
    site.work(Queue.SCORE)
    intake.tick()
    assert site.due(Queue.REPORT) == []
    site.ahead += timedelta(hours=1)
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
    while True:
        (study,) = site.send(film())
        site.orthanc.kill_and_start()
        if not site.changes("StableStudy"):
            break
        site.orthanc.delete_everything()  # it died too late
    intake.look()
    site.work(Queue.SCORE)
    look_until(intake, lambda: site.due(Queue.REPORT) == [study])
    assert site.changes("StableStudy") == 0


def test_a_late_film_keeps_a_study_open(site: Site, slow_to_call_stable: OrthancServer) -> None:
    """The quiet time counts from the last film, so that two films sent together make one report."""
    site.orthanc = slow_to_call_stable
    intake = site.intake(quiet=timedelta(hours=2))
    (study,) = site.send(film())
    intake.look()
    site.ahead += timedelta(minutes=100)
    site.send(film(study))
    intake.look()
    site.work(Queue.SCORE)
    site.ahead += timedelta(minutes=100)
    intake.tick()
    assert site.due(Queue.REPORT) == []
    site.ahead += timedelta(minutes=20)
    intake.tick()
    assert site.due(Queue.REPORT) == [study]
    with site.database.read() as session:
        assert session.execute(text("SELECT revision FROM studies")).scalar_one() == 1


# ---- What is read ----


def test_a_verified_report_in_the_pacs_completes_the_reading(site: Site) -> None:
    """A radiologist's own report takes its study off the list, whoever was reading it, and names who verified it."""
    intake = site.intake()
    read, kept = site.send(film(), film())
    intake.look()
    site.readings.claim(READER, read)
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


# ---- What lapses ----


def test_a_claim_lapses_by_itself(site: Site) -> None:
    """Whoever holds the feed gives up the claim of a reader who went away."""
    intake = site.intake()
    (study,) = site.send(film())
    intake.look()
    site.readings.claim(READER, study)
    intake.tick()
    assert site.listed()[study].reading.state is ReadingState.READING
    site.ahead = site.rules.reading_lease + timedelta(seconds=1)
    look_until(intake, lambda: site.listed()[study].reading.state is ReadingState.UNREAD)


def test_a_dead_workers_job_is_handed_out_again(site: Site) -> None:
    """A job whose holder does not renew its lease is due again, without anybody asking."""
    intake = site.intake()
    site.send(film())
    intake.look()
    (job_id,) = site.take(Queue.SCORE)
    assert site.jobs.claim(job_id, "dead") is not None
    site.ahead = site.jobs.limits.lease + timedelta(seconds=1)
    look_until(intake, lambda: site.take(Queue.SCORE) == [job_id])
    assert site.jobs.claim(job_id, "alive") is not None


def test_a_step_of_housekeeping_that_fails_stops_no_other(site: Site) -> None:
    """A claim that cannot be given up is logged once and tried again, while films go on being listed."""
    intake = site.intake()
    (stuck,) = site.send(film(PatientName="Poison"))
    intake.look()
    taken = site.take(Queue.SCORE)
    site.readings.claim(READER, stuck)
    site.ahead = site.rules.reading_lease + timedelta(seconds=1)
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
        assert set(site.take(Queue.SCORE)) - set(taken)
    finally:
        with site.database.write() as session:
            session.execute(text("ALTER TABLE studies DROP CONSTRAINT refusal"))
    look_until(intake, lambda: intake.is_reading)
    assert site.listed()[stuck].reading.state is ReadingState.UNREAD
