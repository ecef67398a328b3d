"""What the change feed writes, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError, StatementError

from tests.records import ANN, HOUR, LATERAL, NOON, SECOND, STUDY, Records, at_once, policy, received, result
from worklist.errors import Conflict, PacsUnavailable, UnusableImage
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.procedure_step import ProcedureStepState
from worklist.reading import Reading, ReadingState
from worklist.records import FeedCursor, GoneStudy, ListedStudy, ReceivedInstance
from worklist.site import SiteRules
from worklist.study import Failure, StudyState

DOCUMENT = Failure(code="not_an_image", message="not an image")


def test_an_image_is_listed_and_scheduled(records: Records) -> None:
    """A new image makes a waiting study in order of arrival, and one job to score it."""
    records.ingest(received())
    assert records.study() == ListedStudy(
        rank=1,
        study_instance_uid=STUDY,
        orthanc_id=f"o{STUDY}",
        patient_id="4711",
        patient_name="Doe^Jane",
        patient_sex="",
        patient_age="",
        accession_number="A1",
        study_description="Chest PA",
        modality="DX",
        ward="",
        station="",
        view="",
        question="",
        prior=None,
        prior_count=0,
        acquired_at=None,
        received_at=NOON,
        order_priority=OrderPriority.ROUTINE,
        urgency=None,
        score=None,
        harm=None,
        state=StudyState.WAITING,
        reading=Reading(state=ReadingState.UNREAD, since=NOON),
        is_overdue=False,
        queue_at=NOON,
        reason="",
        failure=None,
        judgement=None,
        policy=None,
        result_series_uids=(),
        crop_count=0,
        updated_at=NOON,
    )
    job = records.claim(Queue.SCORE)
    assert (job.study_instance_uid, job.series_instance_uid, job.sop_instance_uid, job.revision, job.created_at) == (
        STUDY,
        f"{STUDY}.1",
        f"{STUDY}.1.1",
        1,
        NOON,
    )


@pytest.mark.parametrize("code", ["not_a_radiograph", "not_an_image"])
def test_what_is_no_radiograph_makes_no_work(records: Records, code: str) -> None:
    """A CT or a document is listed with its reason; complete or not, nothing is to be done until an image comes."""
    refused = Failure(code=code, message="modality CT")
    records.ingest(received(scope_failure=refused), stable=[STUDY])
    assert (records.study().state, records.study().failure) == (StudyState.OUT_OF_SCOPE, refused)
    records.clock.forward(HOUR)
    assert records.intake.complete_quiet() == 0
    assert records.due() == []
    records.ingest(received(image="2"))
    assert records.study().state is StudyState.WAITING
    assert len(records.due()) == 1


@pytest.mark.parametrize("code", ["child", "lateral_view", "not_chest", "for_processing"])
def test_a_refused_radiograph_is_reported_once(records: Records, code: str) -> None:
    """A study of images that are not looked at is reported when it is complete, and stays out of scope for all that."""
    refused = Failure(code=code, message="only images of adults are scored")
    sent = (received(image="1", scope_failure=DOCUMENT), received(image="2", scope_failure=refused))
    records.ingest(*sent)
    assert records.due() == []
    records.ingest(stable=[STUDY])
    job = records.claim(Queue.REPORT)
    subject = records.jobs.report_subject(job)
    assert subject.failed is not None
    assert (subject.analysis, subject.failed.sop_instance_uid, subject.failed.failure) == (
        None,
        f"{STUDY}.1.2",
        refused,
    )
    records.finish(job, result(1))
    study = records.study()
    assert (study.state, study.failure, study.score) == (StudyState.OUT_OF_SCOPE, refused, None)
    assert study.result_series_uids == (result(1).series_instance_uid,)
    records.ingest(*sent, stable=[STUDY])
    assert records.states(Queue.REPORT) == [(1, ProcedureStepState.COMPLETED)]
    records.clock.forward(HOUR)
    assert records.intake.complete_quiet() == 0


def test_a_site_may_want_no_reports_on_what_is_out_of_scope(records: Records) -> None:
    """Without the setting a refused image makes no work, and an image beside it is reported as ever."""
    quiet = Records(records.database, records.clock, records.make_analysis, SiteRules(report_out_of_scope=False))
    quiet.ingest(received(scope_failure=LATERAL), stable=[STUDY])
    assert quiet.due() == []
    quiet.ingest(received(image="2"), stable=[STUDY])
    assert quiet.states(Queue.REPORT) == [(1, ProcedureStepState.SCHEDULED)]


@pytest.mark.parametrize("is_done", [True, False])
def test_a_frontal_image_after_the_report_on_a_lateral_one_opens_a_revision(records: Records, *, is_done: bool) -> None:
    """It is scored and reported as the next revision, after the report that said that nothing was assessed."""
    records.ingest(received(scope_failure=LATERAL), stable=[STUDY])
    early = records.claim(Queue.REPORT)
    if is_done:
        records.finish(early, result(1))
    records.ingest(received(image="2"))
    assert records.study().state is StudyState.WAITING
    if not is_done:
        records.finish(early, result(1))
    records.score(score=0.9)
    assert records.study().state is StudyState.SCORED
    records.ingest(stable=[STUDY])
    late = records.claim(Queue.REPORT)
    assert late.revision == 2
    assert records.jobs.report_subject(late).predecessors == (result(1),)
    records.finish(late, result(2))
    assert (records.study().state, records.study().score) == (StudyState.REPORTED, 0.9)


def test_the_most_telling_refusal_is_shown(records: Records) -> None:
    """A child's image says more about a study than the lateral one, and that more than the document beside it."""
    child = Failure(code="child", message="only adults")
    for image, refused, shown in (("1", DOCUMENT, DOCUMENT), ("2", LATERAL, LATERAL), ("3", child, child)):
        records.ingest(received(image=image, scope_failure=refused))
        assert records.study().failure == shown
    records.ingest(received(image="4", scope_failure=LATERAL))
    assert records.study().failure == child


def test_images_speak_for_a_study(records: Records) -> None:
    """What an image says of its patient stands, whatever an object without a name says later."""
    document = replace(received(image="2", scope_failure=DOCUMENT, modality="SR"), patient_name="", accession_number="")
    records.ingest(received(), document)
    study = records.study()
    assert (study.patient_name, study.accession_number, study.modality) == ("Doe^Jane", "A1", "DX")
    records.ingest(
        replace(received(image="3"), patient_name="Doe^Janet", patient_sex="F", patient_age="064Y", acquired_at=NOON)
    )
    study = records.study()
    assert (study.patient_name, study.patient_sex, study.patient_age) == ("Doe^Janet", "F", "064Y")
    assert study.acquired_at == NOON


def test_a_stated_priority_stands(records: Records) -> None:
    """An object that states none takes nothing back, and a STAT order is first from the moment it is known."""
    records.ingest(received("1.1"), received("1.2", at=NOON + SECOND))
    records.ingest(received("1.2", image="2", scope_failure=DOCUMENT, order_priority=OrderPriority.STAT))
    records.ingest(received("1.2", image="3"))
    assert records.listed() == ["1.2", "1.1"]
    assert records.study("1.2").reason == "STAT order. Up 1 place (2nd by arrival)"


def test_the_same_instance_twice_changes_nothing(records: Records) -> None:
    """Reading the feed again leaves study, jobs and history as they are, scored or not."""
    records.ingest(received())
    before = (records.study(), records.due(), records.worklist.newest())
    records.clock.forward(SECOND)
    records.ingest(received())
    assert (records.study(), records.due(), records.worklist.newest()) == before
    records.score()
    scored = records.study()
    records.ingest(received())
    assert records.study() == scored
    assert records.due() == []


def test_new_pixels_under_an_old_uid_are_scored_again(records: Records) -> None:
    """The old score goes at once, and an old job that ends late changes nothing."""
    records.ingest(received(digest="a"))
    late = records.claim(Queue.SCORE)
    records.ingest(received(digest="b"))
    assert records.jobs.complete_score(late.job_id, "w", records.analysis_of(late, score=0.9))
    assert (records.study().state, records.study().score) == (StudyState.WAITING, None)
    records.score(score=0.1)
    assert records.study().score == 0.1


def test_pixels_that_come_back_are_scored_again(records: Records) -> None:
    """A, then B, then A again under one UID: what counts is what the PACS holds at last."""
    for digest, score in (("a", 0.1), ("b", 0.2), ("a", 0.3)):
        records.ingest(received(digest=digest))
        records.score(score=score)
        assert records.study().score == score
    assert records.due() == []


def test_a_stretch_is_written_whole_or_not_at_all(records: Records) -> None:
    """Where one instance is refused, neither the others nor the cursor nor any event is kept."""
    cursor = FeedCursor(sequence=7, marks=("7 x", "6 y"))
    naive = replace(received("1.2.4"), received_at=datetime(2026, 11, 22, 12))  # noqa: DTZ001 - refused for this
    with pytest.raises(StatementError, match="time zone"):
        records.intake.ingest([received(), naive], [], feed="f", cursor=cursor)
    assert records.worklist.page() == (0, [])
    assert records.worklist.newest() == 0
    assert records.intake.cursor("f") is None
    records.intake.ingest([received()], [], feed="f", cursor=cursor)
    assert records.intake.cursor("f") == cursor
    assert records.intake.cursor("g") is None


def test_a_long_study_is_recomputed_once_a_stretch(records: Records) -> None:
    """A CT's slices do not each read all the slices before: an image would wait half a minute behind them."""
    statements: list[str] = []

    def hear(*event: object) -> None:
        statements.append(str(event[2]))

    listen(records.database.engine, "before_cursor_execute", hear)
    records.ingest(*(received(image=str(number), scope_failure=LATERAL) for number in range(20)))
    whole_study = [text for text in statements if "ORDER BY instances.sop_instance_uid" in text]
    assert len(whole_study) <= 2
    assert records.study().failure == LATERAL


def test_a_study_is_complete_once(records: Records) -> None:
    """However often it is called stable, one report is made of a revision."""
    records.ingest(received())
    records.ingest(stable=[STUDY, STUDY, "1.2.999"])
    records.ingest(stable=[STUDY])
    assert records.states(Queue.REPORT) == [(1, ProcedureStepState.SCHEDULED)]


def test_quiet_studies_are_complete(records: Records) -> None:
    """After the site's quiet time without a new image, whether or not the PACS calls them stable, and once each."""
    records.ingest(received("1.1"), received("1.2"), received("1.3"), received("1.4", scope_failure=DOCUMENT))
    records.ingest(stable=["1.3"])
    records.clock.forward(4 * SECOND)
    records.ingest(received("1.2", image="2"))
    assert records.intake.complete_quiet() == 0
    records.clock.forward(SECOND)
    assert records.intake.complete_quiet() == 1
    assert "complete" in records.kinds("1.1")
    assert "complete" not in records.kinds("1.2")
    records.intake.record_presence("o1.2", is_present=False)
    records.clock.forward(HOUR)
    assert records.intake.complete_quiet() == 0


def test_what_is_left_of_a_study_whose_film_is_gone_is_reported(records: Records) -> None:
    """Where the scored film is no longer in the PACS the lateral one beside it is told of in a report of its own."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(image="1"), received(image="2", scope_failure=LATERAL), stable=[STUDY])
    records.score({FindingType.PLEURAL_EFFUSION: 0.7}, 0.7)
    records.report(result(1))
    records.intake.record_presence(f"o{STUDY}", is_present=True, missing=[f"{STUDY}.1.1"])
    assert records.study().state is StudyState.OUT_OF_SCOPE
    records.clock.forward(HOUR)
    records.intake.complete_quiet()
    job = records.report(result(2))
    assert job.revision == 2
    assert records.study().state is StudyState.OUT_OF_SCOPE


def test_a_late_image_before_the_report_begins_belongs_to_it(records: Records) -> None:
    """The report waits for the late image, and there is one revision."""
    records.ingest(received(), stable=[STUDY])
    records.score()
    records.ingest(received(image="2"))
    assert records.due(Queue.REPORT) == []
    records.score(score=0.1)
    assert records.report().revision == 1
    assert records.study().state is StudyState.REPORTED


def test_a_report_whose_message_was_sent_waits_for_a_late_image(records: Records) -> None:
    """A worker that gets the message leaves the report alone; it is sent again once the image is scored."""
    records.ingest(received(scope_failure=LATERAL), stable=[STUDY])
    (report,) = records.due()
    records.jobs.record_enqueued([report])
    records.ingest(received(image="2"))
    assert records.jobs.claim(report, "w") is None
    records.score(score=0.9)
    assert records.due() == [report]
    assert records.report().revision == 1
    assert (records.study().state, records.study().score) == (StudyState.REPORTED, 0.9)


@pytest.mark.parametrize("begun", ["done", "claimed", "postponed"])
def test_late_images_open_one_new_revision(records: Records, begun: str) -> None:
    """Once the report has begun, all images that come before the next one belong to one further revision.

    So it is too where the report was kept, could not be stored, and waits to be tried again: what it says is fixed.
    """
    records.ingest(received(), stable=[STUDY])
    records.score(score=0.2)
    early = records.claim(Queue.REPORT)
    if begun == "done":
        records.finish(early)
    if begun == "postponed":
        subject = records.jobs.report_subject(early)
        assert records.jobs.keep_report(early.job_id, "w", subject, subject.analysis)
        records.jobs.give_up(early.job_id, "w", PacsUnavailable("pacs_unavailable", "no answer"))
    for image in "234":
        records.ingest(received(image=image))
    records.ingest(stable=[STUDY])
    assert [revision for revision, _ in records.states(Queue.REPORT)] == [1, 2]
    assert records.study().state is StudyState.SCORED
    for _ in "234":
        records.score(score=0.9)
    records.clock.forward(10 * SECOND)
    reports = {}
    while records.due(Queue.REPORT):
        job = records.claim(Queue.REPORT)
        subject = records.jobs.report_subject(job)
        assert subject.analysis is not None
        reports[job.revision] = len(subject.analysis.images)
        records.finish(job)
    assert reports == ({1: 1, 2: 4} if begun == "postponed" else {2: 4})
    assert (records.study().state, records.study().score) == (StudyState.REPORTED, 0.9)


def test_new_pixels_after_the_report_open_a_revision(records: Records) -> None:
    """Corrected pixels are reported anew, and the former report stays the current one until then."""
    records.ingest(received(), stable=[STUDY])
    records.score(score=0.9)
    records.report(result(1))
    records.ingest(received(digest="b"), stable=[STUDY])
    assert records.study().state is StudyState.WAITING
    assert records.study().result_series_uids == (result(1).series_instance_uid,)
    records.score(score=0.1)
    records.report(result(2))
    assert records.study().result_series_uids == (result(2).series_instance_uid,)
    assert records.study().state is StudyState.REPORTED


def test_an_image_corrected_out_of_scope_takes_its_findings_along(records: Records) -> None:
    """Where the header of a reported image is corrected and it is none that may be judged, no old finding is shown."""
    records.ingest(received(), stable=[STUDY])
    records.score({FindingType.PNEUMOTHORAX: 0.95}, 0.95)
    records.report(result(1))
    assert records.study().analysis is not None
    records.ingest(received(digest="b", scope_failure=LATERAL))
    line = records.study()
    assert (line.state, line.score, line.analysis, line.urgency) == (StudyState.OUT_OF_SCOPE, None, None, None)


def test_the_images_that_stay_are_reported_without_the_corrected_one(records: Records) -> None:
    """Also where the site wants no report on what is out of scope: what the present report says is no longer so."""
    site = Records(records.database, records.clock, records.make_analysis, SiteRules(report_out_of_scope=False))
    site.ingest(received(), received(image="2"), stable=[STUDY])
    site.score(score=0.9)
    site.score(score=0.2)
    site.report(result(1))
    site.ingest(received(digest="b", scope_failure=LATERAL), stable=[STUDY])
    assert site.report(result(2)).revision == 2
    assert (site.study().state, site.study().score) == (StudyState.REPORTED, 0.2)


# ---- Leaving and coming back ----


def test_a_study_that_left_the_pacs_leaves_the_list(records: Records) -> None:
    """It is gone from pages and counts with its work, those who watch are told once, and patrols leave it alone."""
    records.ingest(received("1.1"), received("1.2"))
    assert sorted(records.intake.listed()) == ["o1.1", "o1.2"]
    before = records.worklist.newest()
    records.intake.record_presence("o1.1", is_present=False)
    records.intake.record_presence("o1.1", is_present=False)
    total, studies = records.worklist.page()
    assert (total, [(study.rank, study.study_instance_uid) for study in studies]) == (1, [(1, "1.2")])
    assert records.worklist.find("1.1") is None
    assert records.intake.listed() == ["o1.2"]
    assert records.worklist.changed_after(before) == (before + 1, [], [GoneStudy(study_instance_uid="1.1")])
    assert records.worklist.counts().listed == 1
    assert len(records.due()) == 1
    assert records.jobs.count_open() == 1


def test_patrol_takes_turns(records: Records) -> None:
    """The study whose presence was checked longest ago comes next, and none too soon."""
    records.ingest(received("1.1"))
    records.clock.forward(SECOND)
    records.ingest(received("1.2"))
    assert records.intake.longest_unchecked(SECOND, 2) == []
    records.clock.forward(SECOND)
    assert records.intake.longest_unchecked(timedelta(0), 2) == ["o1.1", "o1.2"]
    records.intake.record_presence("o1.1", is_present=True)
    assert records.intake.longest_unchecked(timedelta(0), 1) == ["o1.2"]
    records.intake.record_presence("o1.2", is_present=False)
    records.clock.forward(SECOND)
    assert records.intake.longest_unchecked(timedelta(0), 2) == ["o1.1"]
    records.intake.forget_checks()
    assert records.intake.longest_unchecked(HOUR, 2) == ["o1.1"]


def test_an_image_that_is_gone_takes_its_score_with_it(records: Records) -> None:
    """The study is reported anew from the images that are left; without any nothing is said of it."""
    records.ingest(received(image="1"), received(image="2"), stable=[STUDY])
    records.score(score=0.9)
    records.score(score=0.2)
    records.report(result(1))
    records.intake.record_presence(f"o{STUDY}", is_present=True, missing=[f"{STUDY}.1.1"])
    study = records.study()
    assert (study.state, study.score) == (StudyState.SCORED, 0.2)
    records.ingest(stable=[STUDY])
    assert records.report(result(2)).revision == 2
    records.ingest(received(image="3", scope_failure=LATERAL))
    records.intake.record_presence(f"o{STUDY}", is_present=True, missing=[f"{STUDY}.1.2"])
    study = records.study()
    assert (study.state, study.score, study.result_series_uids) == (StudyState.OUT_OF_SCOPE, None, ())


def test_a_study_that_comes_back_begins_anew(records: Records) -> None:
    """It is scored and reported again, from the images that came back and from no other, as another revision."""
    records.ingest(received(image="1"), received(image="2"), stable=[STUDY])
    records.score(score=0.9)
    records.score(score=0.2)
    records.report(result(1), result(2, position=1))
    records.intake.record_presence(f"o{STUDY}", is_present=False)
    assert records.worklist.crop(STUDY, 1) is None

    later = records.clock.forward(HOUR)
    records.ingest(received(image="2", at=later))
    study = records.study()
    assert (study.state, study.score, study.received_at, study.queue_at) == (StudyState.WAITING, None, later, later)
    assert (study.analysis, study.result_series_uids, study.crop_count) == (None, (), 0)
    records.score(score=0.2)
    records.ingest(stable=[STUDY])
    job = records.report(result(3), result(4, position=1))
    assert job.revision == 2
    study = records.study()
    assert (study.state, study.score) == (StudyState.REPORTED, 0.2)
    assert study.result_series_uids == (result(3).series_instance_uid, result(4).series_instance_uid)
    assert records.worklist.crop(STUDY, 1) == (STUDY, result(4).series_instance_uid, result(4).sop_instance_uid)


def test_lost_results_are_written_again(records: Records) -> None:
    """A report that the PACS has lost is made again for the same revision, once the study is complete."""
    records.ingest(received(), received("1.9"), stable=[STUDY])
    records.score(score=0.9)
    records.score(score=0.9)
    records.report(result(1))
    lost = result(1).sop_instance_uid
    assert lost in records.intake.expected(f"o{STUDY}")
    assert lost not in records.intake.expected("o1.9") | records.intake.expected("nobody")
    records.intake.record_presence(f"o{STUDY}", is_present=True, missing=[lost])
    records.intake.record_presence("nobody", is_present=True, missing=[lost])
    assert lost not in records.intake.expected(f"o{STUDY}")
    assert records.study().state is StudyState.SCORED
    records.ingest(stable=[STUDY])
    assert records.report(result(7)).revision == 1
    assert records.study().state is StudyState.REPORTED
    assert records.study().result_series_uids == (result(7).series_instance_uid,)


def test_a_failed_image_beside_a_scored_one_is_told_of(records: Records) -> None:
    """The reason says how many images stand behind the score."""
    records.ingest(received(image="1"), received(image="2"))
    records.score(score=0.2)
    records.fail(Queue.SCORE, UnusableImage("undecodable", "the pixels cannot be decoded"))
    assert (records.study().state, records.study().reason) == (StudyState.SCORED, "1 of 2 images could not be scored")


# ---- Several at once ----


def test_two_intakes_never_double_a_job(records: Records) -> None:
    """The same stretch ingested at the same moment leaves one study, one job an image, and one report."""
    stretch = (received(), received(image="2"))
    at_once(*[partial(records.ingest, *stretch, stable=[STUDY])] * 4)
    records.ingest(*stretch, stable=[STUDY])
    assert records.states(Queue.SCORE) == [(1, ProcedureStepState.SCHEDULED)] * 2
    assert records.states(Queue.REPORT) == [(1, ProcedureStepState.SCHEDULED)]
    at_once(*[partial(records.ingest, received(digest="b"), stable=[STUDY])] * 4)
    assert len(records.states(Queue.SCORE)) == 3


def test_stretches_that_touch_the_same_studies_never_block_each_other(records: Records) -> None:
    """Whatever order their instances come in, studies are locked in one order."""
    uids = [f"1.{number}" for number in range(6)]
    records.ingest(*(received(uid) for uid in uids))
    at_once(
        *(
            partial(records.ingest, *(received(uid, image=str(number)) for uid in (uids if number % 2 else uids[::-1])))
            for number in range(2, 8)
        )
    )
    assert len(records.states(Queue.SCORE)) == 6 * 7


# ---- What is kept ----


def test_no_error_tells_a_patients_name(records: Records) -> None:
    """Neither the message nor the traceback of what the database refuses holds what it was given."""
    records.ingest(received())
    nameless = replace(received("1.2.4"), accession_number=None)  # type: ignore[arg-type] # refused for this
    with pytest.raises(IntegrityError) as refusal:
        records.ingest(nameless)
    told = str(refusal.value) + "".join(traceback.format_exception(refusal.value))
    assert "accession_number" in told
    assert "Doe" not in told
    assert "4711" not in told


def test_ward_station_view_and_question_are_those_of_the_newest_image(records: Records) -> None:
    """An image that comes later is believed, one that is out of scope is not, and what it does not say is empty."""
    records.ingest(received(ward="ER", station="S1", view="AP", question="Fall"))
    records.ingest(received(image="2", scope_failure=LATERAL, ward="X", station="S2", view="LL", question="Y"))

    def shown() -> tuple[str, ...]:
        study = records.study()
        return (study.ward, study.station, study.view, study.question)

    assert shown() == ("ER", "S1", "AP", "Fall")
    records.ingest(received(image="3", ward="ICU", view="PA"))
    assert shown() == ("ICU", "", "PA", "")


# ---- Two patients under one Study Instance UID ----

OTHER = "o another patient's"
SHARED = "Another patient has the same Study Instance UID, and a viewer shows both: check name and ID"


def of_another(at: datetime = NOON + SECOND, digest: str = "b") -> ReceivedInstance:
    """An image of another patient under the same UIDs: faulty, or sent again under a corrected Patient ID."""
    return replace(received(at=at, digest=digest), orthanc_id=OTHER, patient_id="8", patient_name="Roe^Rick")


def test_two_patients_under_one_study_uid_are_two_studies(records: Records) -> None:
    """Each has its own name, score and reading, each says so, and watchers hear of both when it begins and ends."""
    records.ingest(received(), received("1.9", at=NOON + 2 * SECOND))
    before = records.worklist.newest()
    records.ingest(of_another())
    newest, changed, gone = records.worklist.changed_after(before)
    assert ({line.orthanc_id: line.reason for line in changed}, gone) == ({f"o{STUDY}": SHARED, OTHER: SHARED}, [])
    job = records.score(score=0.9)
    assert (job.study_orthanc_id, job.study_instance_uid) == (f"o{STUDY}", STUDY)
    sick, well = records.study(f"o{STUDY}"), records.study(OTHER)
    assert [(line.patient_name, line.score, line.address) for line in (sick, well)] == [
        ("Doe^Jane", 0.9, f"o{STUDY}"),
        ("Roe^Rick", None, OTHER),
    ]
    assert (records.study("1.9").address, records.study("1.9").reason) == ("1.9", "")
    records.readings.complete(ANN, OTHER)
    assert records.listed() == [STUDY, "1.9"]
    assert [(kind, records.study(at).reading.state) for kind, at in (("sick", f"o{STUDY}"), ("well", OTHER))] == [
        ("sick", ReadingState.UNREAD),
        ("well", ReadingState.READ),
    ]
    newest = records.worklist.newest()
    records.intake.record_presence(OTHER, is_present=False)
    _, changed, gone = records.worklist.changed_after(newest)
    assert [(line.address, line.reason) for line in changed] == [(STUDY, "")]
    assert gone == [GoneStudy(study_instance_uid=STUDY, orthanc_id=OTHER)]


def test_a_shared_uid_names_neither_study(records: Records) -> None:
    """Whoever asks by it is told both names, and nothing is done to either."""
    records.ingest(received(), of_another())
    asked: tuple[Callable[[str], object], ...] = (
        records.worklist.find,
        records.worklist.priors,
        partial(records.readings.complete, ANN),
        partial(records.readings.claim, ANN),
        records.readings.history,
    )
    for ask in asked:
        with pytest.raises(
            Conflict, match=rf"^2 patients share Study Instance UID {STUDY}: .*{OTHER} or o{STUDY}$"
        ) as told:
            ask(STUDY)
        assert told.value.code == "shared_uid"
    for show in (records.worklist.crop, records.worklist.image):
        with pytest.raises(Conflict):
            show(STUDY, 1)
    assert {records.study(one).reading.state for one in (OTHER, f"o{STUDY}")} == {ReadingState.UNREAD}


def test_results_of_one_uid_belong_to_two_patients(records: Records) -> None:
    """Also under one SOP Instance UID, as earlier versions wrote them, each study keeps its own."""
    records.ingest(received(), of_another(), stable=[STUDY])
    records.intake.ingest([], [OTHER])
    for _ in range(2):
        records.score()
    for _ in range(2):
        records.report(result(3))
    assert [records.study(one).result_series_uids for one in (f"o{STUDY}", OTHER)] == 2 * [(f"{STUDY}.9.3",)]
    assert records.intake.expected(OTHER) == {f"{STUDY}.1.1", f"{STUDY}.9.3.1"}
