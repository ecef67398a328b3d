"""Studies that their pixels, not their headers, put out of scope, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from tests.records import NOON, STUDY, Records, policy, received, result
from worklist.errors import OutOfScope, UnusableImage
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.site import SiteRules
from worklist.study import Failure, StudyState

NO_CHEST = OutOfScope("not_chest_film", "does not look like a frontal chest film")


def test_an_image_that_its_pixels_put_out_of_scope_is_reported_as_such(records: Records) -> None:
    """The study is out of scope and keeps its place, its report says why, and a chest film makes it one to score."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(), stable=[STUDY])
    records.fail(Queue.SCORE, NO_CHEST)
    study = records.study()
    assert (study.state, study.failure) == (
        StudyState.OUT_OF_SCOPE,
        Failure(code="not_chest_film", message="does not look like a frontal chest film"),
    )
    assert (study.urgency, study.score, study.queue_at, study.rank) == (None, None, NOON, 1)
    job = records.claim(Queue.REPORT)
    subject = records.jobs.report_subject(job)
    assert records.jobs.is_reported(subject)
    assert subject.failed is not None
    assert subject.failed.failure.code == "not_chest_film"
    records.finish(job, result(1))
    assert records.study().state is StudyState.OUT_OF_SCOPE
    records.ingest(received(image="2"))
    assert records.study().state is StudyState.WAITING
    records.score({FindingType.PNEUMOTHORAX: 0.95}, 0.9)
    study = records.study()
    assert (study.state, study.reason) == (StudyState.SCORED, "Pneumothorax likely; 1 of 2 images out of scope")


def test_a_report_names_what_is_broken_before_what_is_out_of_scope(records: Records) -> None:
    """Of a study of both, list and report give the failure that somebody can mend."""
    records.ingest(received(), received(image="2"), stable=[STUDY])
    records.fail(Queue.SCORE, NO_CHEST)
    records.fail(Queue.SCORE, UnusableImage("undecodable", "cannot be decoded"))
    study = records.study()
    assert study.state is StudyState.FAILED
    subject = records.jobs.report_subject(records.claim(Queue.REPORT))
    assert subject.failed is not None
    assert subject.failed.failure == study.failure == Failure(code="undecodable", message="cannot be decoded")


def test_a_site_may_want_no_report_on_what_its_pixels_put_out_of_scope(records: Records) -> None:
    """Without the setting it wants none of it, as of what the header puts out of scope, but one of what is broken."""
    site = Records(records.database, records.clock, records.make_analysis, SiteRules(report_out_of_scope=False))
    site.ingest(received(), stable=[STUDY])
    site.fail(Queue.SCORE, NO_CHEST)
    assert not site.jobs.is_reported(site.jobs.report_subject(site.claim(Queue.REPORT)))
    site.ingest(received("1.9"), stable=["1.9"])
    site.fail(Queue.SCORE, UnusableImage("undecodable", "cannot be decoded"))
    assert site.jobs.is_reported(site.jobs.report_subject(site.claim(Queue.REPORT)))
