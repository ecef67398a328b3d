"""The records keep their promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from threading import Barrier

import pytest
from sqlalchemy import select
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError, StatementError

from worklist.errors import (
    FirstreadError,
    ModelUnavailable,
    PacsUnavailable,
    UnusableImage,
)
from worklist.finding import Analysis, FindingType
from worklist.order import OrderKey, OrderPriority
from worklist.records import (
    Database,
    ExclusiveLock,
    FeedCursor,
    IntakeRecords,
    Job,
    JobLimits,
    JobRecords,
    ListedStudy,
    ReadingList,
    ReceivedInstance,
    StoredResult,
)
from worklist.records.tables import InstanceRow, JobRow
from worklist.study import Failure, JobPath, JobState, ReadingPolicy, StudyState

MakeAnalysis = Callable[..., Analysis]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STUDY = "1.2.3"
LATERAL = Failure(code="lateral_view", message="lateral view")
LIMITS = JobLimits(
    lease=15 * SECOND,
    max_attempts=3,
    first_pause=SECOND,
    pacs_patience=timedelta(hours=1),
    requeue_after=10 * SECOND,
)


def received(  # noqa: PLR0913 - what sets one instance apart from another
    study: str = STUDY,
    film: str = "1",
    digest: str = "a",
    at: datetime = NOON,
    *,
    order_priority: OrderPriority = OrderPriority.ROUTINE,
    scope_failure: Failure | None = None,
    modality: str = "DX",
) -> ReceivedInstance:
    """An instance as the intake describes it; Orthanc's identifier of a study is its UID behind an "o"."""
    return ReceivedInstance(
        orthanc_id=f"o{study}",
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=f"{study}.1.{film}",
        digest=digest,
        received_at=at,
        patient_id="4711",
        patient_name="Doe^Jane",
        accession_number="A1",
        study_description="Chest PA",
        modality=modality,
        order_priority=order_priority,
        scope_failure=scope_failure,
    )


def result(number: int, position: int = 0, study: str = STUDY) -> StoredResult:
    """An object in the PACS."""
    return StoredResult(
        sop_instance_uid=f"{study}.9.{number}.1",
        series_instance_uid=f"{study}.9.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
        position=position,
    )


@dataclass
class Records:
    """All sides of the records of one database."""

    database: Database
    intake: IntakeRecords
    jobs: JobRecords
    reading_list: ReadingList
    make_analysis: MakeAnalysis

    def admit(self, *instances: ReceivedInstance, stable: Iterable[str] = (), now: datetime = NOON) -> None:
        """Admit instances, and settle the studies with these UIDs."""
        self.intake.admit(instances, [f"o{study}" for study in stable], now)

    def study(self, study: str = STUDY) -> ListedStudy:
        """A study's line."""
        found = self.reading_list.find(study)
        assert found is not None
        return found

    def due(self, now: datetime = NOON, path: JobPath | None = None) -> list[Job]:
        """The jobs that are due."""
        return [job for job in self.jobs.due(now, 100) if path in {None, job.path}]

    def claim(self, path: JobPath, holder: str = "w", now: datetime = NOON) -> Job:
        """Claim the first due job of a path."""
        job = self.jobs.claim(self.due(now, path)[0].job_id, holder, now)
        assert job is not None
        assert job.path is path
        return job

    def score(self, score: float = 0.9, now: datetime = NOON, **findings: float) -> Job:
        """Claim and complete the first due film."""
        job = self.claim(JobPath.SCORE, now=now)
        analysis = self.make_analysis(
            score,
            {FindingType(name): p for name, p in findings.items()},
            study_instance_uid=job.study_instance_uid,
            sop_instance_uid=job.sop_instance_uid,
        )
        assert self.jobs.complete_score(job.job_id, "w", analysis, now)
        return job

    def report(self, *results: StoredResult, now: datetime = NOON) -> Job:
        """Claim and complete the first due report."""
        job = self.claim(JobPath.REPORT, now=now)
        leading = self.jobs.leading_analysis(job.study_instance_uid)
        assert self.jobs.complete_report(job.job_id, "w", leading, results or [result(job.revision)], now)
        return job

    def fail(self, path: JobPath, error: FirstreadError, now: datetime = NOON) -> None:
        """Claim the first due job of a path and give it up."""
        self.jobs.give_up(self.claim(path, now=now).job_id, "w", error, now)

    def states(self, path: JobPath) -> list[tuple[int, JobState]]:
        """Revision and state of all jobs of a path."""
        with self.database.read() as session:
            rows = session.scalars(select(JobRow).where(JobRow.path == path).order_by(JobRow.revision, JobRow.digest))
            return [(row.revision, row.state) for row in rows]


@pytest.fixture
def records(database: Database, make_analysis: MakeAnalysis) -> Records:
    """The records of an empty database."""
    policy = ReadingPolicy()
    return Records(
        database=database,
        intake=IntakeRecords(database, policy),
        jobs=JobRecords(database, policy, LIMITS),
        reading_list=ReadingList(database),
        make_analysis=make_analysis,
    )


def at_once(*actions: Callable[[], object]) -> list[object]:
    """What the actions return when threads begin them at the same moment; None for one that the database refuses."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        barrier.wait()
        with suppress(IntegrityError):
            return action()
        return None

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


# ---- What the feed brings ----


def test_a_film_is_listed_and_scheduled(records: Records) -> None:
    """A new film makes a waiting study in order of arrival, and one job to score it."""
    records.admit(received())
    assert records.study() == ListedStudy(
        rank=1,
        study_instance_uid=STUDY,
        patient_id="4711",
        patient_name="Doe^Jane",
        accession_number="A1",
        study_description="Chest PA",
        modality="DX",
        received_at=NOON,
        order_priority=OrderPriority.ROUTINE,
        urgency=None,
        score=None,
        state=StudyState.WAITING,
        queue_at=NOON,
        reason="waiting for its score",
        failure=None,
        analysis=None,
        result_series_uids=(),
        crop_count=0,
        updated_at=NOON,
    )
    (job,) = records.due()
    assert (job.path, job.study_instance_uid, job.series_instance_uid, job.sop_instance_uid, job.revision) == (
        JobPath.SCORE,
        STUDY,
        f"{STUDY}.1",
        f"{STUDY}.1.1",
        1,
    )


@pytest.mark.parametrize("code", ["not_a_radiograph", "not_an_image"])
def test_what_is_no_radiograph_makes_no_work(records: Records, code: str) -> None:
    """A CT or a document is listed with its reason; stable or not, nothing is to be done until a film comes."""
    refused = Failure(code=code, message="modality CT")
    records.admit(received(scope_failure=refused), stable=[STUDY])
    assert (records.study().state, records.study().failure) == (StudyState.OUT_OF_SCOPE, refused)
    assert records.intake.unsettled(NOON + SECOND, 9) == []
    assert records.jobs.failed_film(STUDY) is None
    assert records.due() == []
    records.admit(received(film="2"))
    assert records.study().state is StudyState.WAITING
    assert len(records.due()) == 1


@pytest.mark.parametrize("code", ["child", "lateral_view", "not_chest", "for_processing"])
def test_a_refused_radiograph_is_reported_once(records: Records, code: str) -> None:
    """A study of films that are not looked at is reported when it is stable, and stays out of scope for all that."""
    refused = Failure(code=code, message="only films of adults are scored")
    document = Failure(code="not_an_image", message="not an image")
    sent = (received(film="1", scope_failure=document), received(film="2", scope_failure=refused))
    records.admit(*sent)
    assert records.due() == []
    assert records.intake.unsettled(NOON + SECOND, 9) == [f"o{STUDY}"]
    records.admit(stable=[STUDY])
    job = records.claim(JobPath.REPORT)
    film = records.jobs.failed_film(STUDY)
    assert film is not None
    assert (film.sop_instance_uid, film.failure) == (f"{STUDY}.1.2", refused)
    assert records.jobs.complete_report(job.job_id, "w", None, [result(1)], NOON)
    study = records.study()
    assert (study.state, study.failure, study.score) == (StudyState.OUT_OF_SCOPE, refused, None)
    assert study.result_series_uids == (result(1).series_instance_uid,)
    records.admit(*sent, stable=[STUDY])
    assert records.states(JobPath.REPORT) == [(1, JobState.COMPLETED)]
    assert records.intake.unsettled(NOON + SECOND, 9) == []


def test_a_site_may_want_no_reports_on_what_is_out_of_scope(records: Records) -> None:
    """Without the setting a refused film makes no work, and a film beside it is reported as ever."""
    intake = IntakeRecords(records.database, ReadingPolicy(), report_out_of_scope=False)
    intake.admit([received(scope_failure=LATERAL)], [f"o{STUDY}"], NOON)
    assert records.due() == []
    assert intake.unsettled(NOON + SECOND, 9) == []
    intake.admit([received(film="2")], [f"o{STUDY}"], NOON)
    assert records.states(JobPath.REPORT) == [(1, JobState.SCHEDULED)]


@pytest.mark.parametrize("is_done", [True, False])
def test_a_frontal_film_after_the_report_on_a_lateral_one_opens_a_revision(records: Records, *, is_done: bool) -> None:
    """It is scored and reported as the next revision, after the report that said that nothing was assessed."""
    records.admit(received(scope_failure=LATERAL), stable=[STUDY])
    early = records.claim(JobPath.REPORT)
    if is_done:
        assert records.jobs.complete_report(early.job_id, "w", None, [result(1)], NOON)
    records.admit(received(film="2"))
    assert records.study().state is StudyState.WAITING
    if not is_done:
        assert records.jobs.complete_report(early.job_id, "w", None, [result(1)], NOON)
    records.score(0.9)
    assert records.study().state is StudyState.SCORED
    records.admit(stable=[STUDY])
    assert records.jobs.predecessors(STUDY, 2) == [result(1)]
    assert records.report(result(2)).revision == 2
    assert (records.study().state, records.study().score) == (StudyState.REPORTED, 0.9)


def test_the_most_telling_refusal_is_shown(records: Records) -> None:
    """A child's film says more about a study than the lateral one, and that more than the document beside it."""
    document = Failure(code="not_an_image", message="not an image")
    records.admit(received(film="1", scope_failure=document), received(film="2", scope_failure=LATERAL))
    assert records.study().failure == LATERAL
    child = Failure(code="child", message="patient is under 18")
    records.admit(received(film="3", scope_failure=child))
    assert records.study().failure == child


def test_a_document_does_not_redescribe_a_study(records: Records) -> None:
    """What a film says of its patient stands, whatever an object without a name says later."""
    document = received(film="2", scope_failure=Failure(code="not_an_image", message="not an image"), modality="SR")
    records.admit(received(), replace(document, patient_name="", accession_number=""))
    study = records.study()
    assert (study.patient_name, study.accession_number, study.modality) == ("Doe^Jane", "A1", "DX")
    records.admit(replace(received(film="3"), patient_name="Doe^Janet"))
    assert records.study().patient_name == "Doe^Janet"


def test_the_same_instance_twice_changes_nothing(records: Records) -> None:
    """Reading the feed again leaves study and jobs as they are, scored or not."""
    records.admit(received())
    before = (records.study(), records.due())
    records.admit(received(), now=NOON + SECOND)
    assert (records.study(), records.due()) == before
    records.score()
    scored = records.study()
    records.admit(received(), now=NOON + SECOND)
    assert records.study() == scored
    assert records.due() == []


def test_new_pixels_under_an_old_uid_are_scored_again(records: Records) -> None:
    """The old score goes at once, and an old job that ends late changes nothing."""
    records.admit(received(digest="a"))
    late = records.claim(JobPath.SCORE)
    records.admit(received(digest="b"))
    assert records.jobs.complete_score(late.job_id, "w", records.make_analysis(0.9), NOON)
    assert (records.study().state, records.study().score) == (StudyState.WAITING, None)
    records.score(0.1)
    assert records.study().score == 0.1


def test_pixels_that_come_back_are_scored_again(records: Records) -> None:
    """A, then B, then A again under one UID: what counts is what the PACS holds at last."""
    for digest, score in (("a", 0.1), ("b", 0.2), ("a", 0.3)):
        records.admit(received(digest=digest))
        records.score(score)
        assert records.study().score == score
    assert records.due() == []


def test_a_stretch_is_written_whole_or_not_at_all(records: Records) -> None:
    """Where one instance is refused, neither the others nor the cursor are kept."""
    cursor = FeedCursor(sequence=7, marks=("7 x", "6 y"))
    naive = replace(received("1.2.4"), received_at=datetime(2026, 11, 22, 12))  # noqa: DTZ001 - refused for this
    with pytest.raises(StatementError, match="time zone"):
        records.intake.admit([received(), naive], [], NOON, feed="f", cursor=cursor)
    assert records.reading_list.page() == (0, [])
    assert records.intake.cursor("f") is None
    records.intake.admit([received()], [], NOON, feed="f", cursor=cursor)
    assert records.intake.cursor("f") == cursor
    assert records.intake.cursor("g") is None


def test_a_long_study_is_restated_once_a_stretch(records: Records) -> None:
    """A CT's slices do not each read all the slices before: a film would wait half a minute behind them."""
    statements: list[str] = []

    def hear(*event: object) -> None:
        statements.append(str(event[2]))

    listen(records.database.engine, "before_cursor_execute", hear)
    records.admit(*(received(film=str(number), scope_failure=LATERAL) for number in range(20)))
    whole_study = [text for text in statements if "ORDER BY instances.sop_instance_uid" in text]
    assert len(whole_study) <= 2  # the new study, and the study at the stretch's end
    assert records.study().failure == LATERAL


def test_a_study_is_settled_once(records: Records) -> None:
    """However often it is called stable, one report is made of a revision."""
    records.admit(received())
    records.admit(stable=[STUDY, STUDY, "1.2.999"])
    records.admit(stable=[STUDY])
    assert records.states(JobPath.REPORT) == [(1, JobState.SCHEDULED)]


def test_a_late_film_before_the_report_begins_belongs_to_it(records: Records) -> None:
    """The report waits for the late film, and there is one revision."""
    records.admit(received(), stable=[STUDY])
    records.score()
    records.admit(received(film="2"))
    assert records.due(path=JobPath.REPORT) == []
    records.score(0.1)
    assert records.report().revision == 1
    assert records.study().state is StudyState.REPORTED


def test_a_report_whose_message_was_sent_waits_for_a_late_film(records: Records) -> None:
    """A worker that gets the message leaves the report alone; it is sent again once the film is scored."""
    records.admit(received(scope_failure=LATERAL), stable=[STUDY])
    (report,) = records.due()
    records.jobs.record_enqueued([report.job_id], NOON)
    records.admit(received(film="2"))
    assert records.jobs.claim(report.job_id, "w", NOON) is None
    records.score(0.9)
    assert records.due() == [report]
    assert records.report().revision == 1
    assert (records.study().state, records.study().score) == (StudyState.REPORTED, 0.9)


@pytest.mark.parametrize("is_done", [True, False])
def test_late_films_open_one_new_revision(records: Records, is_done: bool) -> None:  # noqa: FBT001
    """Once the report has begun, all films that come before the next one belong to one further revision."""
    records.admit(received(), stable=[STUDY])
    records.score(0.2)
    if is_done:
        records.report()
    else:
        records.claim(JobPath.REPORT)
    for film in "234":
        records.admit(received(film=film))
    records.admit(stable=[STUDY])
    assert [revision for revision, _ in records.states(JobPath.REPORT)] == [1, 2]
    assert records.study().state is StudyState.SCORED
    for _ in "234":
        records.score(0.9)
    assert records.report().revision == 2
    assert records.study().state is StudyState.REPORTED
    assert records.study().score == 0.9


def test_new_pixels_after_the_report_open_a_revision(records: Records) -> None:
    """Corrected pixels are reported anew, and the former report stays the current one until then."""
    records.admit(received(), stable=[STUDY])
    records.score(0.9)
    records.report(result(1))
    records.admit(received(digest="b"), stable=[STUDY])
    assert records.study().state is StudyState.WAITING
    assert records.study().result_series_uids == (result(1).series_instance_uid,)
    records.score(0.1)
    assert records.jobs.predecessors(STUDY, 2) == [result(1)]
    records.report(result(2))
    assert records.study().result_series_uids == (result(2).series_instance_uid,)
    assert records.study().state is StudyState.REPORTED


def test_a_film_corrected_out_of_scope_takes_its_findings_along(records: Records) -> None:
    """Where the header of a reported film is corrected and it is none that may be judged, no old finding is shown."""
    records.admit(received())
    records.score(0.95, pneumothorax=0.95)
    records.admit(stable=[STUDY])
    job = records.claim(JobPath.REPORT)
    analysis = records.jobs.leading_analysis(STUDY)
    assert records.jobs.complete_report(job.job_id, "w", analysis, [result(1)], NOON)
    assert records.study().analysis == analysis
    records.admit(received(digest="b", scope_failure=LATERAL))
    line = records.study()
    assert (line.state, line.score, line.analysis) == (StudyState.OUT_OF_SCOPE, None, None)


def test_a_slow_report_does_not_replace_the_next_one(records: Records) -> None:
    """Where revision 1 is stored after revision 2, revision 2 stays the current one."""
    records.admit(received(), stable=[STUDY])
    records.score(0.2)
    slow = records.claim(JobPath.REPORT, holder="slow")
    records.admit(received(film="2"), stable=[STUDY])
    records.score(0.9)
    records.report(result(2))
    assert records.jobs.complete_report(slow.job_id, "slow", records.make_analysis(0.2), [result(1)], NOON)
    study = records.study()
    assert (study.state, study.result_series_uids) == (StudyState.REPORTED, (result(2).series_instance_uid,))
    assert study.analysis is not None
    assert study.analysis.score == 0.9


def test_unsettled_studies_are_found(records: Records) -> None:
    """Silent studies to report and without a report job are named, the longest silent first."""
    records.admit(
        received("1.1", at=NOON + 2 * SECOND),
        received("1.2", at=NOON + SECOND),
        received("1.3", at=NOON + 9 * SECOND),
        received("1.4", scope_failure=Failure(code="not_a_radiograph", message="modality CT")),
        received("1.5"),
        received("1.6"),
        stable=["1.5"],
    )
    records.intake.record_presence("o1.6", NOON, is_present=False)
    assert records.intake.unsettled(NOON + 5 * SECOND, 10) == ["o1.2", "o1.1"]
    assert records.intake.unsettled(NOON + 5 * SECOND, 1) == ["o1.2"]
    records.admit(received("1.2", film="2", at=NOON + 8 * SECOND))
    assert records.intake.unsettled(NOON + 5 * SECOND, 10) == ["o1.1"]


# ---- Leaving and coming back ----


def test_a_study_that_left_the_pacs_leaves_the_list(records: Records) -> None:
    """It is gone from pages and counts, and those who watch are told."""
    records.admit(received("1.1"), received("1.2"))
    assert sorted(records.intake.listed()) == ["o1.1", "o1.2"]
    records.intake.record_presence("o1.1", NOON + SECOND, is_present=False)
    records.intake.record_presence("o1.1", NOON + 2 * SECOND, is_present=False)
    total, studies = records.reading_list.page()
    assert (total, [(study.rank, study.study_instance_uid) for study in studies]) == (1, [(1, "1.2")])
    assert records.reading_list.find("1.1") is None
    assert records.intake.listed() == ["o1.2"]
    assert records.reading_list.changed_since(NOON + SECOND) == ([], ["1.1"])
    assert records.reading_list.changed_since(NOON + 2 * SECOND) == ([], [])


def test_patrol_takes_turns(records: Records) -> None:
    """The study whose presence was checked longest ago comes next, and none too soon."""
    records.admit(received("1.1"), now=NOON)
    records.admit(received("1.2"), now=NOON + SECOND)
    assert records.intake.longest_unchecked(NOON) is None
    assert records.intake.longest_unchecked(NOON + 2 * SECOND) == "o1.1"
    records.intake.record_presence("o1.1", NOON + 2 * SECOND, is_present=True)
    assert records.intake.longest_unchecked(NOON + 2 * SECOND) == "o1.2"
    records.intake.record_presence("o1.2", NOON + 2 * SECOND, is_present=False)
    assert records.intake.longest_unchecked(NOON + 9 * SECOND) == "o1.1"


def test_a_study_that_comes_back_begins_anew(records: Records) -> None:
    """It is scored and reported again, from the films that came back and from no other."""
    records.admit(received(film="1"), received(film="2"), stable=[STUDY])
    records.score(0.9)
    records.score(0.2)
    records.report(result(1), result(2, position=1))
    records.intake.record_presence(f"o{STUDY}", NOON, is_present=False)

    later = NOON + timedelta(hours=1)
    records.admit(received(film="2", at=later), now=later)
    study = records.study()
    assert (study.state, study.score, study.received_at, study.queue_at) == (StudyState.WAITING, None, later, later)
    assert (study.analysis, study.result_series_uids, study.crop_count) == (None, (), 0)
    assert records.reading_list.crop(STUDY, 1) is None
    records.score(0.2, now=later)
    records.admit(stable=[STUDY], now=later)
    records.report(result(3), result(4, position=1), now=later)
    study = records.study()
    assert (study.state, study.score) == (StudyState.REPORTED, 0.2)
    assert study.result_series_uids == (result(3).series_instance_uid, result(4).series_instance_uid)
    assert records.reading_list.crop(STUDY, 1) == (result(4).series_instance_uid, result(4).sop_instance_uid)
    assert records.jobs.predecessors(STUDY, 2) == [result(3)]


def test_lost_results_are_written_again(records: Records) -> None:
    """A report that the PACS has lost is made again for the same revision, once the study is settled."""
    records.admit(received(), received("1.9"), stable=[STUDY])
    records.score(0.9)
    records.score(0.9)
    records.report(result(1))
    assert records.intake.reported_documents([f"o{STUDY}", "o1.9", "nobody"]) == [(STUDY, result(1).sop_instance_uid)]
    records.intake.reopen_report(STUDY, NOON)
    records.intake.reopen_report("1.2.999", NOON)
    assert records.intake.reported_documents([f"o{STUDY}"]) == []
    assert records.study().state is StudyState.SCORED
    assert f"o{STUDY}" in records.intake.unsettled(NOON + SECOND, 2)
    records.admit(stable=[STUDY])
    assert records.report(result(7)).revision == 1
    assert records.study().state is StudyState.REPORTED
    assert records.study().result_series_uids == (result(7).series_instance_uid,)


# ---- Work ----


def test_a_job_is_claimed_by_one(records: Records) -> None:
    """A claimed job is in no other hands until its lease has run out."""
    records.admit(received())
    job = records.claim(JobPath.SCORE, "one")
    assert records.jobs.claim(job.job_id, "two", NOON + 15 * SECOND) is None
    assert records.jobs.claim(job.job_id, "two", NOON + 16 * SECOND) == job
    assert records.jobs.claim("no such job", "two", NOON) is None


def test_a_lease_is_renewed(records: Records) -> None:
    """A renewed lease holds from the moment of renewal."""
    records.admit(received())
    job = records.claim(JobPath.SCORE, "one")
    assert records.jobs.renew(job.job_id, "one", NOON + 10 * SECOND)
    assert records.jobs.claim(job.job_id, "two", NOON + 24 * SECOND) is None
    assert not records.jobs.renew(job.job_id, "two", NOON + 10 * SECOND)


def test_a_holder_that_lost_its_lease_changes_nothing(records: Records) -> None:
    """It can neither renew, complete nor fail what is in other hands."""
    records.admit(received(), stable=[STUDY])
    job = records.claim(JobPath.SCORE, "one")
    later = NOON + 16 * SECOND
    assert records.jobs.claim(job.job_id, "two", later)
    assert not records.jobs.renew(job.job_id, "one", later)
    assert not records.jobs.complete_score(job.job_id, "one", records.make_analysis(0.9), later)
    records.jobs.give_up(job.job_id, "one", UnusableImage("bad", "bad"), later)
    assert records.study().state is StudyState.WAITING
    assert records.jobs.complete_score(job.job_id, "two", records.make_analysis(0.1), later)
    assert records.study().score == 0.1

    report = records.claim(JobPath.REPORT, "one", later)
    later += 16 * SECOND
    records.jobs.sweep(later)
    assert not records.jobs.complete_report(report.job_id, "one", records.make_analysis(0.9), [result(1)], later)
    assert records.study().result_series_uids == ()


def test_done_work_is_not_done_again(records: Records) -> None:
    """A message that comes twice finds nothing to claim."""
    records.admit(received())
    job = records.score()
    assert records.jobs.claim(job.job_id, "two", NOON + timedelta(days=1)) is None
    assert records.jobs.count_open() == 0


def test_sweep_puts_back_and_at_last_fails(records: Records) -> None:
    """A job whose worker died is due again at once; when that happens each time, it fails for all to see."""
    records.admit(received())
    now = NOON
    for attempt in range(LIMITS.max_attempts):
        records.claim(JobPath.SCORE, f"worker {attempt}", now)
        records.jobs.sweep(now + 15 * SECOND)
        assert records.due(now + 15 * SECOND) == []
        now += 16 * SECOND
        records.jobs.sweep(now)
        assert len(records.due(now)) == (attempt < LIMITS.max_attempts - 1)
    study = records.study()
    assert study.state is StudyState.FAILED
    assert study.failure is not None
    assert study.failure.code == "worker_lost"
    assert "firstread retry" in study.reason


def test_a_permanent_error_fails_at_once(records: Records) -> None:
    """Its code and line are shown, and the study keeps its place in the queue."""
    records.admit(received())
    records.fail(JobPath.SCORE, UnusableImage("undecodable", "the pixels cannot be decoded"))
    study = records.study()
    assert (study.state, study.queue_at) == (StudyState.FAILED, NOON)
    assert study.failure == Failure(code="undecodable", message="the pixels cannot be decoded")
    assert study.reason == "the pixels cannot be decoded; in order of arrival"
    assert records.jobs.count_open() == 0
    film = records.jobs.failed_film(STUDY)
    assert film is not None
    assert (film.sop_instance_uid, film.failure) == (f"{STUDY}.1.1", study.failure)


def test_a_transient_error_is_retried_within_bounds(records: Records) -> None:
    """Pauses of 1 s and 2 s, then failure after the third attempt."""
    records.admit(received())
    now = NOON
    for pause in (SECOND, 2 * SECOND):
        records.fail(JobPath.SCORE, ModelUnavailable("model_unavailable", "no model"), now)
        assert records.study().state is StudyState.WAITING
        assert records.due(now + pause - timedelta(microseconds=1)) == []
        now += pause
    (job,) = records.due(now)
    assert records.jobs.claim(job.job_id, "w", now - timedelta(microseconds=1)) is None  # a message came too early
    records.fail(JobPath.SCORE, ModelUnavailable("model_unavailable", "no model"), now)
    assert records.study().failure == Failure(code="model_unavailable", message="no model")


def test_an_absent_pacs_is_waited_for(records: Records) -> None:
    """It uses up no attempts within its patience; after that it counts as a failure."""
    absent = PacsUnavailable("pacs_unavailable", "no answer")
    records.admit(received())
    now = NOON
    for _ in range(20):
        records.fail(JobPath.SCORE, absent, now)
        now += 10 * SECOND
    assert records.study().state is StudyState.WAITING
    records.fail(JobPath.SCORE, absent, NOON + LIMITS.pacs_patience)
    assert records.study().failure == Failure(code="pacs_unavailable", message="no answer")


def test_a_failed_report_is_shown_and_the_score_kept(records: Records) -> None:
    """The study keeps its urgency and place; its state and failure tell of the report."""
    records.admit(received(), stable=[STUDY])
    records.score(0.9)
    place = records.study().queue_at
    records.fail(JobPath.REPORT, UnusableImage("bad_report", "the report could not be built"))
    study = records.study()
    assert (study.state, study.score, study.queue_at) == (StudyState.FAILED, 0.9, place)
    assert study.failure == Failure(code="bad_report", message="the report could not be built")


def test_retry_runs_failed_jobs_again(records: Records) -> None:
    """All of them, or those of the studies that are named, with fresh attempts and patience."""
    for study in ("1.1", "1.2"):
        records.admit(received(study))
        records.fail(JobPath.SCORE, UnusableImage("bad", "bad"))
    later = NOON + timedelta(days=1)
    assert records.jobs.retry(["1.2", "1.2.999"], later) == 1
    assert (records.study("1.1").state, records.study("1.2").state) == (StudyState.FAILED, StudyState.WAITING)
    assert [job.study_instance_uid for job in records.due(later)] == ["1.2"]
    assert records.jobs.retry([], later) == 1
    assert records.jobs.retry([], later) == 0
    records.fail(JobPath.SCORE, PacsUnavailable("pacs_unavailable", "no answer"), later)
    assert records.jobs.count_open() == 2


def test_retry_leaves_alone_what_was_overtaken(records: Records) -> None:
    """Old pixels, an old revision's report and a study that is gone stay failed: the newer result stands."""
    records.admit(received(digest="a"))
    records.fail(JobPath.SCORE, UnusableImage("bad", "bad"))
    records.admit(received(digest="b"), stable=[STUDY])
    records.score(0.9)
    records.fail(JobPath.REPORT, UnusableImage("bad", "bad"))
    records.admit(received(film="2"), stable=[STUDY])
    records.score(0.2)
    records.report()
    records.admit(received("1.9"))
    records.fail(JobPath.SCORE, UnusableImage("bad", "bad"))
    records.intake.record_presence("o1.9", NOON, is_present=False)
    before = records.study()
    assert records.jobs.retry([], NOON + SECOND) == 0
    assert records.study() == before
    assert before.state is StudyState.REPORTED


def test_a_film_retried_after_its_report_is_reported_anew(records: Records) -> None:
    """A report that told of a failure is followed by one that tells the result."""
    records.admit(received(), stable=[STUDY])
    records.fail(JobPath.SCORE, UnusableImage("bad", "bad"))
    job = records.claim(JobPath.REPORT)
    assert records.jobs.complete_report(job.job_id, "w", None, [result(1)], NOON)
    assert records.study().state is StudyState.FAILED
    assert records.jobs.retry([STUDY], NOON) == 1
    records.score(0.9)
    assert records.report(result(2)).revision == 2
    assert records.study().state is StudyState.REPORTED


def test_work_comes_in_order(records: Records) -> None:
    """STAT first, then the oldest; a report not before every film of its study is scored or failed."""
    records.admit(received("1.1"), stable=["1.1"], now=NOON)
    records.admit(received("1.2"), now=NOON + SECOND)
    records.admit(received("1.3", order_priority=OrderPriority.STAT), now=NOON + 2 * SECOND)
    records.admit(received("1.1", film="2"), now=NOON + 3 * SECOND)
    now = NOON + 4 * SECOND

    def due() -> list[tuple[str, JobPath]]:
        return [(job.study_instance_uid, job.path) for job in records.due(now)]

    assert due() == [("1.3", JobPath.SCORE), *((study, JobPath.SCORE) for study in ("1.1", "1.2", "1.1"))]
    assert [job.study_instance_uid for job in records.jobs.due(now, 2)] == ["1.3", "1.1"]
    records.score(now=now)
    records.score(now=now)
    assert due() == [("1.2", JobPath.SCORE), ("1.1", JobPath.SCORE)]
    records.score(now=now)
    records.fail(JobPath.SCORE, UnusableImage("bad", "bad"), now)
    assert due() == [("1.1", JobPath.REPORT)]


def test_messages_are_sent_again_ever_more_rarely(records: Records) -> None:
    """A message that brings nothing is repeated after 20, 40, 80 s and so on, never later than 10 minutes."""
    records.admit(received())
    (job,) = records.due()
    now = NOON
    for pause_s in (20, 40, 80, 160, 320, 600, 600):
        records.jobs.record_enqueued([job.job_id], now)
        assert records.due(now + pause_s * SECOND) == []
        now += pause_s * SECOND + timedelta(microseconds=1)
        assert records.due(now) == [job]
    records.jobs.record_enqueued([job.job_id], now)
    records.jobs.forget_enqueued()
    assert records.due(now) == [job]


def test_a_job_that_was_put_back_is_sent_at_once(records: Records) -> None:
    """What the broker was told before the failure does not delay the next attempt."""
    records.admit(received())
    (job,) = records.due()
    records.jobs.record_enqueued([job.job_id], NOON)
    assert records.jobs.claim(job.job_id, "w", NOON)
    records.jobs.give_up(job.job_id, "w", ModelUnavailable("m", "m"), NOON)
    assert records.due(NOON + SECOND) == [job]


# ---- Several at once ----


def test_two_intakes_never_double_a_job(records: Records) -> None:
    """The same stretch admitted at the same moment leaves one study, one job a film, and one report."""
    stretch = (received(), received(film="2"))
    at_once(*[partial(records.admit, *stretch, stable=[STUDY])] * 4)
    records.admit(*stretch, stable=[STUDY])
    assert records.states(JobPath.SCORE) == [(1, JobState.SCHEDULED)] * 2
    assert records.states(JobPath.REPORT) == [(1, JobState.SCHEDULED)]
    at_once(*[partial(records.admit, received(digest="b"), stable=[STUDY])] * 4)
    assert len(records.states(JobPath.SCORE)) == 3


def test_two_workers_never_do_one_job(records: Records) -> None:
    """Of those who claim at the same moment one wins, and so it is with a lapsed lease."""
    records.admit(received())
    (job,) = records.due()
    for now in (NOON, NOON + 16 * SECOND):
        claims = at_once(*[partial(records.jobs.claim, job.job_id, str(number), now) for number in range(4)])
        assert [claim for claim in claims if claim] == [job]


def test_films_completed_at_once_are_both_seen(records: Records) -> None:
    """Two workers that complete two films of a study at the same moment leave the higher score on the list."""
    records.admit(received(film="1"), received(film="2"), stable=[STUDY])
    jobs = [records.claim(JobPath.SCORE), records.claim(JobPath.SCORE)]

    def complete(job: Job, score: float) -> bool:
        analysis = records.make_analysis(score, sop_instance_uid=job.sop_instance_uid)
        return records.jobs.complete_score(job.job_id, "w", analysis, NOON)

    assert at_once(partial(complete, jobs[0], 0.9), partial(complete, jobs[1], 0.1)) == [True, True]
    assert (records.study().score, records.study().state) == (0.9, StudyState.SCORED)
    assert records.study().reason.startswith("any urgent finding 0.90: moved up")
    assert "not scored yet" not in records.study().reason


def test_one_process_holds_a_lock(records: Records) -> None:
    """Another one gets it when it is released, and not before."""
    with closing(Database(records.database.url.render_as_string(hide_password=False))) as other:
        ours, theirs, another = ExclusiveLock(records.database, 1), ExclusiveLock(other, 1), ExclusiveLock(other, 2)
        assert ours.hold()
        assert ours.hold()
        assert not theirs.hold()
        assert another.hold()
        ours.release()
        assert theirs.hold()
        assert not ours.hold()
        theirs.release()
        another.release()


# ---- The reading list ----


def test_the_list_is_in_reading_order(records: Records) -> None:
    """The database sorts as the domain's own key does; ranks count over all pages and states."""
    chance = random.Random(0)  # noqa: S311 - no secret
    for number in range(40):
        uid = f"1.{number}"
        priority = chance.choice([OrderPriority.ROUTINE, OrderPriority.ROUTINE, OrderPriority.STAT, OrderPriority.LOW])
        at = NOON + chance.randrange(5) * SECOND
        records.admit(received(uid, at=at, order_priority=priority), now=NOON)
        if chance.random() < 0.5:
            records.score(chance.random())
    total, studies = records.reading_list.page()
    assert total == 40
    assert [study.rank for study in studies] == list(range(1, 41))
    keys = [
        OrderKey(
            order_priority=study.order_priority,
            queue_at=study.queue_at,
            received_at=study.received_at,
            study_instance_uid=study.study_instance_uid,
        ).sort_key
        for study in studies
    ]
    assert keys == sorted(keys)

    pages = [records.reading_list.page(limit=15, offset=offset)[1] for offset in (0, 15, 30)]
    assert [study for page in pages for study in page] == studies
    waiting = [study for study in studies if study.state is StudyState.WAITING]
    assert 0 < len(waiting) < 40
    assert records.reading_list.page(state=StudyState.WAITING) == (len(waiting), waiting)
    assert records.reading_list.page(state=StudyState.WAITING, limit=1, offset=1) == (len(waiting), waiting[1:2])
    assert records.reading_list.page(state=StudyState.FAILED) == (0, [])
    assert records.study(studies[7].study_instance_uid) == studies[7]


def test_changes_are_told_from_a_moment_on(records: Records) -> None:
    """Each study that changed at or after it, with its present rank."""
    records.admit(received("1.1"), now=NOON)
    records.admit(received("1.2", at=NOON + SECOND), now=NOON + SECOND)
    assert [s.study_instance_uid for s in records.reading_list.changed_since(NOON + SECOND)[0]] == ["1.2"]
    later = NOON + 2 * SECOND
    job = records.claim(JobPath.SCORE, now=later)
    assert records.jobs.complete_score(job.job_id, "w", records.make_analysis(0.9), later)
    (changed,), gone = records.reading_list.changed_since(later)
    assert (changed.study_instance_uid, changed.rank, gone) == ("1.1", 1, [])


def test_what_was_told_is_not_ranked_again(records: Records) -> None:
    """A page that knows the latest costs one look into an index; what is newer, or left, it is told once."""
    records.admit(received("1.1"), received("1.2"))
    told: dict[str, datetime | None] = {"1.1": NOON, "1.2": NOON}
    statements: list[str] = []

    def hear(*event: object) -> None:
        statements.append(str(event[2]))

    listen(records.database.engine, "before_cursor_execute", hear)
    assert records.reading_list.changed_since(NOON, told) == ([], [])
    assert not [text for text in statements if "row_number" in text]
    records.intake.record_presence("o1.1", NOON, is_present=False)
    assert records.reading_list.changed_since(NOON, told) == ([], ["1.1"])
    records.admit(received("1.2", film="2"), now=NOON + SECOND)
    (changed,), gone = records.reading_list.changed_since(NOON, told | {"1.1": None})
    assert (changed.study_instance_uid, changed.updated_at, gone) == ("1.2", NOON + SECOND, [])


def test_results_and_crops_are_those_of_the_current_revision(records: Records) -> None:
    """Series are named once each, documents first; crops count from 1, and a picture beside them is none."""
    records.admit(received(), stable=[STUDY])
    records.score(0.9)
    crops = [replace(result(5), position=1), replace(result(5), position=2, sop_instance_uid="1.2.3.9.5.2")]
    overview = replace(result(5), sop_instance_uid="1.2.3.9.5.3")
    records.report(*crops, overview, result(9))
    study = records.study()
    assert study.result_series_uids == (result(9).series_instance_uid, result(5).series_instance_uid)
    assert study.crop_count == 2
    assert records.reading_list.crop(STUDY, 2) == (result(5).series_instance_uid, "1.2.3.9.5.2")
    assert records.reading_list.crop(STUDY, 3) is None
    assert records.reading_list.crop("1.2.999", 1) is None


# ---- What is kept ----


def test_moments_survive_exactly(records: Records) -> None:
    """To the microsecond, and whatever time zone they came in."""
    at = datetime(2026, 3, 29, 2, 30, 0, 123457, tzinfo=timezone(timedelta(hours=9)))
    records.admit(received(at=at), now=at + SECOND)
    study = records.study()
    assert (study.received_at, study.queue_at, study.updated_at) == (at, at, at + SECOND)
    assert study.received_at.utcoffset() == timedelta(0)


def test_an_analysis_survives_exactly(records: Records) -> None:
    """Every float, time and code comes back as it was stored."""
    records.admit(received())
    job = records.claim(JobPath.SCORE)
    score = math.nextafter(0.7, 1)
    analysis = records.make_analysis(score, {FindingType.PNEUMOTHORAX: 0.1 + 0.2, FindingType.PNEUMONIA: 5e-324})
    assert records.jobs.complete_score(job.job_id, "w", analysis, NOON)
    assert records.study().analysis == records.jobs.leading_analysis(STUDY) == analysis
    assert records.study().score == score
    with records.database.read() as session:
        assert session.scalars(select(InstanceRow.analysis)).all() == [analysis]


def test_no_error_tells_a_patients_name(records: Records) -> None:
    """Neither the message nor the traceback of what the database refuses holds what it was given."""
    records.admit(received())
    nameless = replace(received("1.2.4"), accession_number=None)  # type: ignore[arg-type] # refused for this
    with pytest.raises(IntegrityError) as refusal:
        records.admit(nameless)
    told = str(refusal.value) + "".join(traceback.format_exception(refusal.value))
    assert "accession_number" in told
    assert "Doe" not in told
    assert "4711" not in told
