"""What is read and old leaves the database, and nothing else does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from tests.records import ANN, DAY, HOUR, NOON, Records, received
from worklist.audit import AuditEntry, AuditKind
from worklist.errors import TransientError
from worklist.job import Queue
from worklist.records import AuditRecords, Lease, RetentionRecords, Shown
from worklist.records.tables import (
    AnalysisRow,
    EventRow,
    InstanceRow,
    JobRow,
    ReportRow,
    ResultRow,
    StudyRow,
    WorkitemRow,
)
from worklist.site import SiteRules
from worklist.workitems.identity import reading_uid

KEEP = 90 * DAY
OF_A_STUDY = (AnalysisRow, EventRow, InstanceRow, JobRow, ReportRow, ResultRow)
HASH = "0a1b2c3d-00000000-11111111-22222222-33333333"


@pytest.fixture
def lease(records: Records) -> Lease:
    """The feed's, held by this process."""
    lease = Lease(records.database, "orthanc")
    assert lease.hold()
    return lease


def retention_of(records: Records) -> RetentionRecords:
    """Ninety days."""
    return RetentionRecords(database=records.database, keep_for=KEEP)


def rows(records: Records, study: str) -> int:
    """How many rows there are of a study, in all tables."""
    with records.database.read() as session:
        of_it = [
            session.scalar(select(func.count()).where(table.study_orthanc_id == f"o{study}")) or 0
            for table in OF_A_STUDY
        ]
        return sum(of_it) + (session.scalar(select(func.count()).where(StudyRow.orthanc_id == f"o{study}")) or 0)


def present(records: Records, studies: Collection[str]) -> set[str]:
    """Those of some studies of which there is anything."""
    return {study for study in studies if rows(records, study)}


def work_off(records: Records, *, but: str = "") -> None:
    """Have everything scored and reported, but for a study whose image a worker still has."""
    for job_id in records.due(Queue.SCORE):
        job = records.jobs.claim(job_id, "w")
        assert job
        if job.study_instance_uid != but:
            assert records.jobs.complete_score(job_id, "w", records.analysis_of(job))
    records.clock.forward(HOUR)
    records.intake.complete_quiet()
    while records.due(Queue.REPORT):
        records.report()


def test_what_is_read_and_old_goes_and_what_is_unread_never_does(records: Records, lease: Lease) -> None:
    """Read, priors and what left the PACS; not the unread, what was read lately, or what is still worked on."""
    records.ingest(received("1.read"), received("1.unread"), received("1.prior", study_date="20200101"))
    records.ingest(received("1.left"), received("1.late"), received("1.worked"))
    records.intake.record_presence("o1.left", is_present=False)
    for study in ("1.read", "1.worked"):
        records.readings.complete(ANN, study)
    work_off(records, but="1.worked")
    records.clock.forward(60 * DAY)
    records.readings.complete(ANN, "1.late")
    every = ("1.read", "1.unread", "1.prior", "1.left", "1.late", "1.worked")
    assert present(records, every) == set(every)
    assert retention_of(records).remove(lease).studies == 0
    records.clock.forward(31 * DAY)
    assert lease.hold()
    due = retention_of(records).due()
    assert (due.read, due.priors, due.withdrawn, due.earliest, due.latest) == (1, 1, 1, NOON, NOON)
    assert retention_of(records).remove(lease) == due
    assert present(records, every) == {"1.unread", "1.late", "1.worked"}
    assert {line.study_instance_uid for line in records.worklist.page(shown=Shown.ALL)[1]} == {
        "1.unread",
        "1.late",
        "1.worked",
    }
    assert retention_of(records).remove(lease).studies == 0


def test_what_went_is_in_the_audit_trail_which_stays(records: Records, lease: Lease) -> None:
    """How many, of which days; entries of the studies themselves stay, and the chain holds."""
    trail = AuditRecords(database=records.database)
    records.ingest(received("1.1", study_date="20200101"))
    trail.append([AuditEntry(at=NOON, kind=AuditKind.ACCESS, actor="Ann", study_instance_uid="1.1")])
    work_off(records)
    records.clock.forward(KEEP + DAY)
    assert lease.hold()
    assert retention_of(records).remove(lease).priors == 1
    seen, removed = (kept.entry for kept in trail.after(0))
    assert (seen.study_instance_uid, seen.patient_id) == ("1.1", "4711")
    assert (removed.kind, removed.actor) == (AuditKind.DELETE, "Firstread")
    assert removed.detail == {
        "studies": 1,
        "read": 0,
        "priors": 1,
        "left the PACS": 0,
        "arrived from": "2026-11-22",
        "arrived to": "2026-11-22",
        "kept for days": 90,
    }
    assert trail.verify().broken_at is None


def test_so_many_go_at_once(records: Records, lease: Lease) -> None:
    """The rest in the next step."""
    records.ingest(*[received(f"1.{number}", study_date="20200101") for number in range(5)])
    work_off(records)
    records.clock.forward(KEEP + DAY)
    assert lease.hold()
    retention = retention_of(records)
    assert [retention.remove(lease, limit=3).studies for _ in range(3)] == [3, 2, 0]


def test_one_process_removes(records: Records) -> None:
    """Who has not the feed's lease removes nothing."""
    records.ingest(received("1.1", study_date="20200101"))
    work_off(records)
    records.clock.forward(KEEP + DAY)
    with pytest.raises(TransientError):
        retention_of(records).remove(Lease(records.database, "orthanc"))
    assert present(records, ["1.1"])


def test_workitems_of_its_readings_go_too(records: Records, lease: Lease) -> None:
    """What a workstation said of them may hold the patient's name."""
    records.ingest(replace(received("1.1", study_date="20200101"), orthanc_id=HASH))
    with records.database.write() as session:
        for uid in (reading_uid(HASH, 1), "1.2.3"):
            of_it = {"state": None, "transaction_uid": "", "document": "{}", "final_at": None}
            session.add(WorkitemRow(workitem_uid=uid, created_at=NOON, updated_at=NOON, **of_it))
    work_off(records)
    records.clock.forward(KEEP + DAY)
    assert lease.hold()
    assert retention_of(records).remove(lease).studies == 1
    with records.database.read() as session:
        assert session.scalars(select(WorkitemRow.workitem_uid)).all() == ["1.2.3"]


def test_what_went_is_no_new_work(records: Records, lease: Lease) -> None:
    """A look back at what the PACS holds passes over it; a film that arrives now is listed, also one sent again."""
    keeping = Records(
        database=records.database,
        clock=records.clock,
        make_analysis=records.make_analysis,
        rules=SiteRules(keep_for=KEEP),
    )
    keeping.ingest(received("1.1"))
    keeping.readings.complete(ANN, "1.1")
    work_off(keeping)
    keeping.clock.forward(KEEP + DAY)
    assert lease.hold()
    assert retention_of(keeping).remove(lease).read == 1
    keeping.ingest(replace(received("1.1"), is_past=True))
    assert not present(keeping, ["1.1"])
    keeping.ingest(received("1.1", at=keeping.clock.now))
    assert keeping.worklist.page(shown=Shown.PRIOR)[1][0].study_instance_uid == "1.1"
