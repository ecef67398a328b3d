"""The work: claimed, completed, retried and reported, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select, text

from tests.records import (
    DAY,
    EXPLAINER,
    HOUR,
    LIMITS,
    NOON,
    OTHER_SCORER,
    SCORER,
    SECOND,
    STUDY,
    Records,
    at_once,
    policy,
    received,
    result,
    scorer_card,
)
from worklist.errors import ModelUnavailable, PacsUnavailable, UnusableImage
from worklist.finding import Code, FindingType
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.records import name_of_a_claim
from worklist.records.documents import analysis_of_document, analysis_to_document
from worklist.records.tables import AnalysisRow, JobRow, ReportRow
from worklist.study import Failure, StudyState

BAD = UnusableImage("bad", "bad")
NO_MODEL = ModelUnavailable("model_unavailable", "no model")
ABSENT = PacsUnavailable("pacs_unavailable", "no answer")


# ---- Claims and leases ----


def test_a_job_is_claimed_by_one(records: Records) -> None:
    """A claimed job is in no other hands until its lease has run out."""
    records.ingest(received())
    job = records.claim(Queue.SCORE, "one")
    records.clock.forward(15 * SECOND)
    assert records.jobs.claim(job.job_id, "two") is None
    records.clock.forward(SECOND)
    assert records.jobs.claim(job.job_id, "two") == job
    assert records.jobs.claim("no such job", "two") is None


def test_a_lease_is_renewed(records: Records) -> None:
    """A renewed lease holds from the moment of renewal."""
    records.ingest(received())
    job = records.claim(Queue.SCORE, "one")
    records.clock.forward(10 * SECOND)
    assert not records.jobs.renew(job.job_id, "two")
    assert records.jobs.renew(job.job_id, "one")
    records.clock.forward(14 * SECOND)
    assert records.jobs.claim(job.job_id, "two") is None
    assert not records.jobs.renew("no such job", "one")


def test_a_holder_that_lost_its_lease_changes_nothing(records: Records) -> None:
    """It can neither renew, complete nor fail what is in other hands, nor keep what a report is to say."""
    records.ingest(received(), stable=[STUDY])
    job = records.claim(Queue.SCORE, "one")
    records.clock.forward(16 * SECOND)
    assert records.jobs.claim(job.job_id, "two")
    assert not records.jobs.renew(job.job_id, "one")
    assert not records.jobs.complete_score(job.job_id, "one", records.analysis_of(job, score=0.9))
    records.jobs.give_up(job.job_id, "one", BAD)
    assert records.study().state is StudyState.WAITING
    assert records.jobs.complete_score(job.job_id, "two", records.analysis_of(job, score=0.1))
    assert records.study().score == 0.1

    report = records.claim(Queue.REPORT, "one")
    subject = records.jobs.report_subject(report)
    records.clock.forward(16 * SECOND)
    records.jobs.sweep()
    assert records.jobs.keep_report(report.job_id, "one", subject, subject.analysis) is None
    assert not records.jobs.complete_report(report.job_id, "one", [result(1)])
    assert records.study().result_series_uids == ()


def test_done_work_is_not_done_again(records: Records) -> None:
    """A message that comes twice finds nothing to claim."""
    records.ingest(received())
    job = records.score()
    records.clock.forward(DAY)
    assert records.jobs.claim(job.job_id, "two") is None
    assert records.jobs.count_open() == 0


def test_sweep_puts_back_and_at_last_fails(records: Records) -> None:
    """A job whose worker died is due again at once; when that happens each time, it fails for all to see."""
    records.ingest(received())
    for attempt in range(LIMITS.max_attempts):
        job = records.claim(Queue.SCORE, f"worker {attempt}")
        records.clock.forward(15 * SECOND)
        records.jobs.sweep()
        assert records.due() == []
        records.clock.forward(SECOND)
        if attempt == LIMITS.max_attempts - 1:
            assert records.jobs.claim(job.job_id, "one more") is None  # a message that comes before the sweep
        records.jobs.sweep()
        assert len(records.due()) == (attempt < LIMITS.max_attempts - 1)
    study = records.study()
    assert study.state is StudyState.FAILED
    assert study.failure is not None
    assert study.failure.code == "worker_lost"
    assert "firstread retry" in study.reason


def test_a_job_whose_process_died_is_put_back_at_once(records: Records) -> None:
    """On this machine nobody waits for its lease, neither the sweep nor who gets its message; others do."""
    records.ingest(received("1.1"), received("1.2"))
    program = "from worklist.records import name_of_a_claim; print(name_of_a_claim())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    first = records.claim(Queue.SCORE, dead)
    second = records.claim(Queue.SCORE, dead.replace(" ", "-elsewhere ", 1))
    records.jobs.sweep()
    assert records.due() == [first.job_id]
    assert records.jobs.claim(first.job_id, dead)
    assert records.jobs.claim(first.job_id, name_of_a_claim()) == first
    records.jobs.sweep()
    assert records.due() == []
    assert records.jobs.claim(first.job_id, "another") is None
    assert records.jobs.claim(second.job_id, "another") is None


# ---- Errors ----


def test_a_permanent_error_fails_at_once(records: Records) -> None:
    """Its code and line are shown, and the study keeps its place in the queue."""
    records.ingest(received(), stable=[STUDY])
    failure = Failure(code="undecodable", message="the pixels cannot be decoded")
    records.fail(Queue.SCORE, UnusableImage(failure.code, failure.message))
    study = records.study()
    assert (study.state, study.queue_at, study.failure, study.reason) == (
        StudyState.FAILED,
        NOON,
        failure,
        failure.message,
    )
    subject = records.jobs.report_subject(records.claim(Queue.REPORT))
    assert subject.failed is not None
    assert (subject.failed.sop_instance_uid, subject.failed.failure) == (f"{STUDY}.1.1", failure)


def test_a_transient_error_is_retried_within_bounds(records: Records) -> None:
    """Pauses of 1 s and 2 s, then failure after the third attempt."""
    records.ingest(received())
    for pause in (SECOND, 2 * SECOND):
        (job_id,) = records.due()
        records.fail(Queue.SCORE, NO_MODEL)
        assert records.study().state is StudyState.WAITING
        records.clock.forward(pause - timedelta(microseconds=1))
        assert records.due() == []
        assert records.jobs.claim(job_id, "w") is None  # a message came too early
        records.clock.forward(timedelta(microseconds=1))
    records.fail(Queue.SCORE, NO_MODEL)
    assert records.study().failure == Failure(code="model_unavailable", message="no model")


def test_an_absent_pacs_is_waited_for(records: Records) -> None:
    """It uses up no attempts within its patience; after that it counts as a failure."""
    records.ingest(received())
    for _ in range(20):
        records.fail(Queue.SCORE, ABSENT)
        records.clock.forward(10 * SECOND)
    assert records.study().state is StudyState.WAITING
    records.clock.now = NOON + LIMITS.pacs_patience
    records.fail(Queue.SCORE, ABSENT)
    assert records.study().failure == Failure(code="pacs_unavailable", message="no answer")


def test_a_failed_report_is_shown_and_the_score_kept(records: Records) -> None:
    """The study keeps its class and place; its state and failure tell of the report."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(), stable=[STUDY])
    records.score({FindingType.PLEURAL_EFFUSION: 0.9}, 0.9)
    before = records.study()
    records.fail(Queue.REPORT, UnusableImage("bad_report", "the report could not be built"))
    study = records.study()
    assert (study.state, study.score, study.queue_at, study.urgency) == (
        StudyState.FAILED,
        0.9,
        before.queue_at,
        before.urgency,
    )
    assert study.failure == Failure(code="bad_report", message="the report could not be built")


def test_retry_runs_failed_jobs_again(records: Records) -> None:
    """All of them, or those of the studies that are named, with fresh attempts and patience."""
    for study in ("1.1", "1.2"):
        records.ingest(received(study))
        records.fail(Queue.SCORE, BAD)
    records.clock.forward(DAY)
    assert records.jobs.retry(["1.2", "1.2.999"]) == 1
    assert (records.study("1.1").state, records.study("1.2").state) == (StudyState.FAILED, StudyState.WAITING)
    assert len(records.due()) == 1
    assert records.jobs.retry([]) == 1
    assert records.jobs.retry([]) == 0
    records.fail(Queue.SCORE, ABSENT)
    assert records.jobs.count_open() == 2
    assert [kind for kind in records.kinds("1.2") if kind in {"failed", "retried"}] == ["failed", "retried"]


def test_retry_leaves_alone_what_was_overtaken(records: Records) -> None:
    """Old pixels, an old revision's report and a study that is gone stay failed: the newer result stands."""
    records.ingest(received(digest="a"))
    records.fail(Queue.SCORE, BAD)
    records.ingest(received(digest="b"), stable=[STUDY])
    records.score(score=0.9)
    records.fail(Queue.REPORT, BAD)
    records.ingest(received(image="2"), stable=[STUDY])
    records.score(score=0.2)
    records.report()
    records.ingest(received("1.9"))
    records.fail(Queue.SCORE, BAD)
    records.intake.record_presence("o1.9", is_present=False)
    before = records.study()
    assert records.jobs.retry([]) == 0
    assert records.study() == before
    assert before.state is StudyState.REPORTED


@pytest.mark.parametrize("is_stored", [True, False])
def test_an_image_retried_after_its_report_is_reported_anew(records: Records, *, is_stored: bool) -> None:
    """A report that told of a failure, or was about to, is followed by one that tells the result."""
    records.ingest(received(), stable=[STUDY])
    records.fail(Queue.SCORE, BAD)
    job = records.claim(Queue.REPORT)
    if is_stored:
        records.finish(job, result(1))
        assert records.study().state is StudyState.FAILED
    else:
        assert records.jobs.keep_report(job.job_id, "w", records.jobs.report_subject(job), None)
        records.jobs.give_up(job.job_id, "w", ABSENT)
    assert records.jobs.retry([STUDY]) == 1
    records.score(score=0.9)
    assert records.report(result(2)).revision == 2
    assert records.study().state is StudyState.REPORTED


def test_a_report_that_is_retried_stays_the_same_revision(records: Records) -> None:
    """It says what was kept, under the same UIDs."""
    records.ingest(received(), stable=[STUDY])
    records.score(score=0.9)
    job = records.claim(Queue.REPORT)
    subject = records.jobs.report_subject(job)
    assert records.jobs.keep_report(job.job_id, "w", subject, subject.analysis) == NOON
    records.jobs.give_up(job.job_id, "w", BAD)
    records.clock.forward(HOUR)
    assert records.jobs.retry([STUDY]) == 1
    again = records.claim(Queue.REPORT)
    assert (again.revision, records.jobs.report_subject(again).reported_at) == (1, NOON)


# ---- Order and messages ----


def test_work_comes_in_reading_order(records: Records) -> None:
    """STAT first, then the most urgent, then the oldest; a report not before all images of its study are judged."""
    records.jobs.adopt_policy(policy())
    records.ingest(received("1.1"), stable=["1.1"])
    records.ingest(received("1.2", at=NOON + SECOND))
    records.ingest(received("1.3", at=NOON + 2 * SECOND, order_priority=OrderPriority.STAT))
    records.ingest(received("1.1", image="2", at=NOON + 3 * SECOND))
    records.ingest(received("1.4", at=NOON + 4 * SECOND))

    def due(limit: int = 100) -> list[tuple[str, Queue]]:
        with records.database.read() as session:
            studies = {row.job_id: row.study_orthanc_id.removeprefix("o") for row in session.scalars(select(JobRow))}
        return [(studies[job_id], queue) for job_id, queue in records.jobs.due(limit)]

    waiting = ["1.1", "1.1", "1.2", "1.4"]
    assert due() == [(study, Queue.SCORE) for study in ["1.3", *waiting]]
    assert [study for study, _ in due(2)] == ["1.3", "1.1"]
    records.score()
    records.score()
    assert [study for study, _ in due()] == waiting[1:]
    records.fail(Queue.SCORE, BAD)
    assert due() == [("1.1", Queue.REPORT), ("1.2", Queue.SCORE), ("1.4", Queue.SCORE)]
    records.ingest(stable=["1.2", "1.4"])
    records.score()
    records.score({FindingType.PNEUMOTHORAX: 0.95})
    assert due() == [("1.4", Queue.REPORT), ("1.1", Queue.REPORT), ("1.2", Queue.REPORT)]


def test_messages_are_sent_again_ever_more_rarely(records: Records) -> None:
    """A message that brings nothing is repeated after 20, 40, 80 s and so on, never later than 10 minutes."""
    records.ingest(received())
    (job_id,) = records.due()
    for pause_s in (20, 40, 80, 160, 320, 600, 600):
        records.jobs.record_enqueued([job_id])
        records.clock.forward(pause_s * SECOND)
        assert records.due() == []
        records.clock.forward(timedelta(microseconds=1))
        assert records.due() == [job_id]
    records.jobs.record_enqueued([job_id])
    records.jobs.forget_enqueued()
    assert records.due() == [job_id]


def test_a_message_that_is_lost_is_sent_again_at_once(records: Records) -> None:
    """Where none waits in the broker and nobody has claimed its job: after 2, 4, 8 s and so on, 16 at the longest."""
    records.ingest(received())
    (job_id,) = records.due()
    for pause_s in (2, 4, 8, 16, 16):
        records.jobs.record_enqueued([job_id])
        records.clock.forward(pause_s * SECOND)
        assert records.jobs.due(9, nothing_waits=True) == []
        records.clock.forward(timedelta(microseconds=1))
        assert records.jobs.due(9, nothing_waits=True) == [(job_id, Queue.SCORE)]
        assert records.jobs.due(9) == []
    assert records.jobs.claim(job_id, "w")
    assert records.jobs.due(9, nothing_waits=True) == []


def test_a_job_that_was_put_back_is_sent_at_once(records: Records) -> None:
    """What the broker was told before the failure does not delay the next attempt."""
    records.ingest(received())
    (job_id,) = records.due()
    records.jobs.record_enqueued([job_id])
    assert records.jobs.claim(job_id, "w")
    records.jobs.give_up(job_id, "w", NO_MODEL)
    records.clock.forward(SECOND)
    assert records.due() == [job_id]


def test_work_of_which_only_a_later_version_knows_is_left_to_it(records: Records) -> None:
    """A job in a queue with an unknown name is handed to nobody here."""
    records.ingest(received())
    with records.database.write() as session:
        session.execute(text("UPDATE jobs SET queue = 'compare'"))
    assert records.jobs.due(10) == []
    assert records.jobs.count_open() == 1


# ---- What is said of an image ----


def test_an_analysis_survives_exactly(records: Records) -> None:
    """Every float, time and code comes back as it was stored."""
    records.ingest(received(), stable=[STUDY])
    job = records.claim(Queue.SCORE)
    score = math.nextafter(0.7, 1)
    analysis = records.analysis_of(job, {FindingType.PNEUMOTHORAX: 0.1 + 0.2, FindingType.PNEUMONIA: 5e-324}, score)
    assert records.jobs.complete_score(job.job_id, "w", analysis)
    assert records.study().analysis == analysis
    assert records.study().score == score
    assert records.jobs.report_subject(records.claim(Queue.REPORT)).analysis == analysis


def test_unknown_findings_survive(records: Records) -> None:
    """A kind of which only a later version knows is kept with its code and name, shown nowhere, and written again."""
    records.jobs.adopt_policy(policy())
    kind = FindingType(key="silicosis", code=Code(value="805002", scheme="SCT", meaning="Silicosis"), label="Silicosis")
    records.ingest(received(), stable=[STUDY])
    records.score({kind: 0.99, FindingType.PLEURAL_EFFUSION: 0.7})
    records.report()
    line = records.study()
    assert line.analysis is not None
    assert line.triage is not None
    assert [finding.type for finding in line.analysis.findings] == [kind, FindingType.PLEURAL_EFFUSION]
    assert [finding.type for finding in line.triage.shown] == [FindingType.PLEURAL_EFFUSION]
    assert analysis_of_document(analysis_to_document(line.analysis)) == line.analysis


def test_images_completed_at_once_are_both_seen(records: Records) -> None:
    """Two workers that complete two images of a study at the same moment leave the findings of both."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(image="1"), received(image="2"), stable=[STUDY])
    jobs = [records.claim(Queue.SCORE), records.claim(Queue.SCORE)]
    said = [
        records.analysis_of(jobs[0], {FindingType.PLEURAL_EFFUSION: 0.7}, 0.9),
        records.analysis_of(jobs[1], {FindingType.CARDIOMEGALY: 0.8}, 0.1),
    ]
    complete = [
        partial(records.jobs.complete_score, job.job_id, "w", analysis)
        for job, analysis in zip(jobs, said, strict=True)
    ]
    assert at_once(*complete) == [True, True]
    study = records.study()
    assert (study.score, study.state) == (0.9, StudyState.SCORED)
    assert study.reason == "Pleural effusion likely; Cardiomegaly likely"


def test_workers_never_do_one_job_twice(records: Records) -> None:
    """Of those who claim at the same moment one wins, and so it is with a lapsed lease."""
    records.ingest(received())
    (job_id,) = records.due()
    for _ in range(2):
        claims = at_once(*(partial(records.jobs.claim, job_id, str(number)) for number in range(4)))
        assert len([claim for claim in claims if claim]) == 1
        records.clock.forward(16 * SECOND)


def test_a_second_image_hides_nothing_of_the_first(records: Records) -> None:
    """A critical study stays critical, and its pneumothorax stays with its own image, in the list and in the report."""
    records.jobs.adopt_policy(policy(scorer_card(pneumothorax=0.6)))
    records.ingest(received(image="2"), stable=[STUDY])
    records.score({FindingType.PNEUMOTHORAX: 0.65}, 0.75)
    before = records.study()
    records.ingest(received(image="3"))
    records.score({FindingType.PNEUMOTHORAX: 0.05}, 0.79)
    study = records.study()
    assert (study.urgency, study.queue_at, study.reason) == (before.urgency, before.queue_at, "Pneumothorax likely")
    assert study.score == 0.79
    for analysis in (study.analysis, records.jobs.report_subject(records.claim(Queue.REPORT)).analysis):
        assert analysis is not None
        (finding,) = analysis.findings
        assert (finding.probability, analysis.image_of(finding).sop_instance_uid) == (0.65, f"{STUDY}.1.2")
        assert analysis.image.sop_instance_uid == f"{STUDY}.1.3"


def test_another_scorer_judges_the_other_images_too(records: Records) -> None:
    """So that no study is judged by two for long; each judges an image once, also while both are at work."""
    records.ingest(received(image="1"), received(image="2"))
    records.score(score=0.2)
    records.score(score=0.3)
    records.ingest(received(image="3"))
    records.score(score=0.4, scorer=OTHER_SCORER)
    assert len(records.due(Queue.SCORE)) == 2
    records.score(score=0.5, scorer=OTHER_SCORER)
    assert len(records.due(Queue.SCORE)) == 1
    records.score(score=0.6, scorer=SCORER)  # by a worker of the former version
    assert len(records.due(Queue.SCORE)) == 1  # the one that this scorer has not judged
    records.score(score=0.7, scorer=SCORER)
    assert records.due() == []
    with records.database.read() as session:
        assert len(session.scalars(select(AnalysisRow)).all()) == 5
    assert records.study().state is StudyState.SCORED


# ---- What a report says ----


def test_what_a_report_says_is_kept_before_it_is_stored(records: Records) -> None:
    """A second try finds the same words, times, policy and gaps, whatever has changed in between."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(image="1"), received(image="2"), stable=[STUDY])
    records.score({FindingType.PLEURAL_EFFUSION: 0.7}, 0.7)
    records.fail(Queue.SCORE, BAD)
    job = records.claim(Queue.REPORT)
    first = records.jobs.report_subject(job)
    assert (first.is_kept, first.unscored, first.reported_at) == (False, 1, NOON)
    assert first.analysis is not None
    explained = first.analysis.explained("Look right.", explainer=EXPLAINER, prompt_version="3")
    assert records.jobs.keep_report(job.job_id, "w", first, explained) == NOON
    records.jobs.give_up(job.job_id, "w", ABSENT)

    records.clock.forward(HOUR / 2)
    records.jobs.adopt_policy(policy(scorer_card(flag_from=0.7)))
    records.ingest(received(image="3"))
    records.score({FindingType.PNEUMOTHORAX: 0.99}, 0.99)
    job = records.claim(Queue.REPORT)
    again = records.jobs.report_subject(job)
    assert again == replace(first, analysis=explained, is_new=False, is_kept=True)
    other = explained.explained("Other words.", explainer=EXPLAINER, prompt_version="3")
    assert records.jobs.keep_report(job.job_id, "w", again, other) == NOON
    assert records.jobs.report_subject(job) == again


def test_the_list_shows_the_words_of_the_present_revision(records: Records) -> None:
    """Until the next report is written, what the scorer says of all images is shown without words."""
    records.ingest(received(), stable=[STUDY])
    records.score(score=0.2)
    records.report()
    analysis = records.study().analysis
    assert analysis is not None
    assert (analysis.explanation, analysis.explainer) == ("Words on 1.", EXPLAINER)
    records.ingest(received(image="2"), stable=[STUDY])
    records.score(score=0.9)
    analysis = records.study().analysis
    assert analysis is not None
    assert (analysis.explanation, len(analysis.images)) == ("", 2)
    records.report()
    analysis = records.study().analysis
    assert analysis is not None
    assert (analysis.explanation, len(analysis.images)) == ("Words on 2.", 2)


def test_the_true_time_of_storing_stands_beside_the_fixed_one(records: Records) -> None:
    """The document's own time is that of the first try; when the PACS had it is kept too."""
    records.ingest(received(), stable=[STUDY])
    records.score()
    job = records.claim(Queue.REPORT)
    subject = records.jobs.report_subject(job)
    assert records.jobs.keep_report(job.job_id, "w", subject, subject.analysis)
    later = records.clock.forward(5 * SECOND)
    assert records.jobs.complete_report(job.job_id, "w", [result(1)])
    with records.database.read() as session:
        (row,) = session.scalars(select(ReportRow)).all()
        assert (row.reported_at, row.stored_at) == (NOON, later)


def test_work_that_nobody_takes_is_known(records: Records) -> None:
    """By queue, with the wait of its oldest job; a queue of which somebody works off jobs waits in order."""
    records.ingest(received("1.1"))
    records.clock.forward(HOUR)
    records.ingest(received("1.2"))
    assert records.jobs.waiting_in_vain() == {Queue.SCORE: HOUR}
    records.score()
    assert records.jobs.waiting_in_vain() == {}
    records.clock.forward(HOUR)
    assert records.jobs.waiting_in_vain() == {Queue.SCORE: HOUR}
    records.claim(Queue.SCORE)
    assert records.jobs.waiting_in_vain() == {}
    records.ingest(stable=["1.1"])
    records.clock.forward(10 * SECOND)
    assert records.jobs.waiting_in_vain() == {Queue.REPORT: 10 * SECOND}


def test_a_clock_that_is_set_back_holds_up_no_work(records: Records) -> None:
    """Moments that lie further ahead than they can be count as past: no film waits as long as the step was."""
    records.ingest(received("1.1"), received("1.2"))
    held = records.claim(Queue.SCORE)
    records.jobs.record_enqueued([job_id for job_id, _ in records.jobs.due(9)])
    assert records.jobs.due(9) == []
    records.clock.forward(-HOUR / 3)
    assert len(records.jobs.due(9)) == 1
    records.jobs.sweep()
    assert len(records.jobs.due(9, Queue.SCORE)) == 2
    assert records.jobs.claim(held.job_id, "v") is not None
    assert records.intake.complete_quiet() == 2


def test_lost_results_say_the_same_again(records: Records) -> None:
    """A report that the PACS has lost is built from what was kept, at its first time."""
    records.ingest(received(), stable=[STUDY])
    records.score()
    records.report()
    before = records.study().analysis
    records.clock.forward(DAY)
    records.intake.record_presence(f"o{STUDY}", is_present=True, missing=[result(1).sop_instance_uid])
    records.ingest(stable=[STUDY])
    subject = records.jobs.report_subject(records.claim(Queue.REPORT))
    assert (subject.analysis, subject.is_kept, subject.reported_at) == (before, True, NOON)


def test_a_slow_report_does_not_replace_the_next_one(records: Records) -> None:
    """Where revision 1 is stored after revision 2, revision 2 stays the current one."""
    records.ingest(received(), stable=[STUDY])
    records.score(score=0.2)
    slow = records.claim(Queue.REPORT, holder="slow")
    records.ingest(received(image="2"), stable=[STUDY])
    records.score(score=0.9)
    records.report(result(2))
    records.finish(slow, result(1), holder="slow")
    study = records.study()
    assert (study.state, study.result_series_uids) == (StudyState.REPORTED, (result(2).series_instance_uid,))
    assert study.analysis is not None
    assert (study.analysis.score, study.analysis.explanation) == (0.9, "Words on 2.")
