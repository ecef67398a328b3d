"""What failed and may be tried again, and by whom it was."""

from __future__ import annotations

from tests.records import ANN, DAY, LATERAL, NOON, SECOND, STUDY, Records, received
from worklist.errors import OutOfScope, PacsUnavailable, PermanentError, UnusableImage
from worklist.job import Queue
from worklist.records import FailedWork
from worklist.scope import NOT_CHEST_FILM
from worklist.study import Failure, StudyState

BLANK = UnusableImage("blank_image", "Every pixel has the same value: the film is blank.")
REFUSED = PermanentError("unidentified_source", "The image names no patient.")


def test_what_failed_is_told_the_last_first(records: Records) -> None:
    """Images and reports, with the study's identifiers, the tries, and why; nothing that names the patient."""
    records.ingest(received("1.1"))
    records.fail(Queue.SCORE, BLANK)
    records.clock.forward(SECOND)
    records.ingest(received("1.2"), stable=["1.2"])
    records.score()
    records.ingest(stable=["1.2"])
    records.fail(Queue.REPORT, REFUSED)
    total, failed = records.jobs.failed()
    assert (total, records.jobs.count_failed()) == (2, 2)
    assert failed == [
        FailedWork(
            study_instance_uid="1.2",
            accession_number="A1",
            queue=Queue.REPORT,
            sop_instance_uid="",
            attempts=1,
            since=NOON + SECOND,
            failure=Failure(code="unidentified_source", message="The image names no patient."),
        ),
        FailedWork(
            study_instance_uid="1.1",
            accession_number="A1",
            queue=Queue.SCORE,
            sop_instance_uid="1.1.1.1",
            attempts=1,
            since=NOON,
            failure=Failure(code="blank_image", message="Every pixel has the same value: the film is blank."),
        ),
    ]
    assert records.jobs.failed(limit=1, offset=1) == (2, failed[1:])


def test_only_what_trying_again_may_help_is_told(records: Records) -> None:
    """Not what was overtaken, what left the PACS, what is out of scope, and what is to be tried again anyway."""
    records.ingest(received("1.1", digest="a"))
    records.fail(Queue.SCORE, BLANK)
    records.ingest(received("1.1", digest="b"))
    records.score()
    records.ingest(received("1.2"))
    records.fail(Queue.SCORE, BLANK)
    records.intake.record_presence("o1.2", is_present=False)
    records.ingest(received("1.3", scope_failure=LATERAL))
    records.ingest(received("1.4"))
    records.fail(Queue.SCORE, PacsUnavailable("pacs_unavailable", "no answer"))
    assert records.jobs.failed() == (0, [])
    records.clock.forward(DAY)
    records.fail(Queue.SCORE, OutOfScope(NOT_CHEST_FILM, "does not look like a frontal chest film"))
    assert records.study("1.4").state is StudyState.OUT_OF_SCOPE
    assert records.jobs.failed() == (0, [])


def test_a_retry_says_who_asked(records: Records) -> None:
    """The history of the study names them."""
    records.ingest(received())
    records.fail(Queue.SCORE, BLANK)
    assert records.jobs.retry([], ANN) == 1
    (event,) = (event for event in records.readings.history(STUDY) if event.kind == "retried")
    assert (event.actor, event.detail["failure"]) == ("Ann", "blank_image")
    assert records.jobs.failed() == (0, [])


def test_what_its_pixels_put_out_of_scope_is_looked_at_again_by_name_alone(records: Records) -> None:
    """Trying all that failed leaves it: it did not fail, and its report would be written once more for nothing."""
    records.ingest(received())
    records.fail(Queue.SCORE, OutOfScope(NOT_CHEST_FILM, "does not look like a frontal chest film"))
    assert records.jobs.retry([]) == 0
    assert records.study().state is StudyState.OUT_OF_SCOPE
    assert records.jobs.retry([STUDY]) == 1
    assert records.study().state is StudyState.WAITING
