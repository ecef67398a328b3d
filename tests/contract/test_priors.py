"""A patient's other studies, and where a study's images lie, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from sqlalchemy.event import listen, remove

from tests.records import ANN, LATERAL, NOON, SECOND, STUDY, Records, policy, received
from worklist.errors import OutOfScope, UnusableImage
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.reading import ReadingState
from worklist.records import PriorStudy, Shown, StoredImage
from worklist.study import Failure
from worklist.triage import Urgency


def prior(records: Records, study: str = STUDY) -> tuple[str | None, int]:
    """The newest prior of a study, and how many there are."""
    line = records.study(study)
    return (line.prior.study_instance_uid if line.prior else None, line.prior_count)


def test_the_newest_earlier_study_of_the_patient_is_shown(records: Records) -> None:
    """The one with the latest date that is not after its own, of any kind, read or not; and how many there are."""
    records.ingest(received(study_date="20261122"))
    assert prior(records) == (None, 0)
    records.ingest(
        received("1.1", study_date="20240101"),
        received("1.2", study_date="20251231", modality="CT"),
        received("1.3", study_date="20261123"),
        received("1.4", study_date="20261122", patient_id="4712"),
    )
    assert records.study().prior == PriorStudy(
        study_instance_uid="1.2", study_date="20251231", study_description="Chest PA", modality="CT"
    )
    assert prior(records) == ("1.2", 2)
    assert prior(records, "1.1") == (None, 0)
    assert prior(records, "1.2") == ("1.1", 1)
    assert prior(records, "1.3") == (STUDY, 3)
    assert prior(records, "1.4") == (None, 0)


def test_studies_of_one_day_are_each_others_priors(records: Records) -> None:
    """Nobody knows which came first by the date alone; the one that arrived last is shown."""
    records.ingest(received(), received("1.1", at=NOON + SECOND), received("1.2", at=NOON - SECOND))
    assert prior(records) == ("1.1", 2)
    assert prior(records, "1.1") == (STUDY, 2)


def test_without_an_id_or_a_date_there_is_no_prior(records: Records) -> None:
    """Studies without Patient ID are not of one patient; one without a date is before and after nothing."""
    records.ingest(received(patient_id=""), received("1.1", patient_id="", study_date="20200101"))
    assert prior(records) == (None, 0)
    records.ingest(received("1.2", study_date=""), received("1.3", study_date="20261122"))
    assert prior(records, "1.2") == (None, 0)
    assert prior(records, "1.3") == (None, 0)


def test_what_has_left_the_pacs_is_no_prior(records: Records) -> None:
    """A study that is gone is neither shown nor counted, and has no priors itself."""
    records.ingest(received(), received("1.1", study_date="20250101"), received("1.2", study_date="20240101"))
    records.intake.record_presence("o1.1", is_present=False)
    assert prior(records) == ("1.2", 1)
    assert records.worklist.priors("1.1") is None
    assert records.worklist.priors("9.9") is None


def test_every_view_and_every_change_tells_of_priors(records: Records) -> None:
    """Pages of the list, of what was read and of priors, and lines that changed, as the study's own line does."""
    records.ingest(
        received(), received("1.1", study_date="20261121"), received("1.2", study_date="20200101"), received("1.3")
    )
    records.readings.complete(ANN, "1.3")
    changed = records.worklist.changed_after(0)[1]
    pages = [line for shown in Shown for line in records.worklist.page(shown=shown)[1]]
    assert {line.study_instance_uid for line in pages} == {STUDY, "1.1", "1.2", "1.3"}
    for line in (*changed, *pages):
        own = records.study(line.study_instance_uid)
        assert (line.prior, line.prior_count) == (own.prior, own.prior_count)


def test_a_page_asks_for_priors_once(records: Records) -> None:
    """One statement serves all its studies, however many they are."""
    records.ingest(*(received(f"1.{number}", study_date=f"202611{number:02}") for number in range(1, 21)))
    asked: list[str] = []

    def hear(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    listen(records.database.engine, "before_cursor_execute", hear)
    try:
        lines = records.worklist.page()[1]
    finally:
        remove(records.database.engine, "before_cursor_execute", hear)
    assert sorted(line.prior_count for line in lines) == list(range(20))
    assert sum("AS newest" in statement for statement in asked) == 1


def test_priors_are_listed_newest_first(records: Records) -> None:
    """With what is known of each: when it came, whether it was flagged, and who read it; no more than asked for."""
    records.jobs.adopt_policy(policy())
    records.ingest(received("1.1", study_date="20261120", at=NOON - SECOND))
    records.score({FindingType.PNEUMOTHORAX: 0.95}, 0.9)
    records.readings.complete(ANN, "1.1")
    records.ingest(received(), received("1.2", study_date="20261121"), received("1.3", study_date="20261123"))
    found = records.worklist.priors(STUDY)
    assert found is not None
    assert [line.study_instance_uid for line in found] == ["1.2", "1.1"]
    assert (found[0].urgency, found[0].reading.state) == (None, ReadingState.UNREAD)
    oldest = found[1]
    assert (oldest.study_date, oldest.received_at, oldest.urgency) == ("20261120", NOON - SECOND, Urgency.CRITICAL)
    assert (oldest.reading.state, oldest.reading.reader) == (ReadingState.READ, "Ann")
    assert records.worklist.priors(STUDY, limit=1) == found[:1]
    assert records.worklist.priors("1.1") == []


# ---- A study's images ----


def image(number: int, *, is_decoded: bool) -> StoredImage:
    """An image of the study as the PACS knows it."""
    return StoredImage(
        study_orthanc_id=f"o{STUDY}",
        orthanc_id=f"o{STUDY}.1.{number}",
        series_instance_uid=f"{STUDY}.1",
        sop_instance_uid=f"{STUDY}.1.{number}",
        is_decoded=is_decoded,
    )


def images(records: Records) -> list[StoredImage]:
    """A study's images from the first position on."""
    found: list[StoredImage] = []
    while one := records.worklist.image(STUDY, len(found) + 1):
        found.append(one)
    assert records.worklist.image(STUDY, 0) is None
    return found


def test_images_are_those_of_the_analysis_in_its_order(records: Records) -> None:
    """The one with the highest score first, before and after the report; what was not scored has no position."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(), received(image="2"), received(image="3", scope_failure=LATERAL), stable=[STUDY])
    records.score(score=0.3)
    records.score(score=0.8)
    line = records.study()
    assert line.analysis is not None
    expected = [found.sop_instance_uid for found in line.analysis.images]
    assert len(expected) == 2
    assert [one.sop_instance_uid for one in images(records)] == expected
    records.report()
    assert images(records) == [image(int(uid[-1]), is_decoded=True) for uid in expected]


def test_without_an_analysis_the_images_that_are_looked_at_are_shown(records: Records) -> None:
    """In the order of their UIDs, whatever came first; whether a worker has decoded each is known."""
    records.ingest(received(image="3"), received(image="2"), received(image="1", scope_failure=LATERAL))
    assert images(records) == [image(2, is_decoded=False), image(3, is_decoded=False)]
    records.fail(Queue.SCORE, OutOfScope("lateral_film", "looks like a lateral film"))
    records.fail(Queue.SCORE, UnusableImage("pixel_data_truncated", "incomplete"))
    assert sorted(one.is_decoded for one in images(records)) == [False, True]
    records.ingest(*(received(image=str(number), digest="b") for number in (2, 3)))
    assert images(records) == [image(2, is_decoded=False), image(3, is_decoded=False)]


def test_a_study_out_of_scope_shows_all_that_may_be_images(records: Records) -> None:
    """But no document; and a study that is gone or unknown shows nothing."""
    records.ingest(
        received(image="2", scope_failure=LATERAL),
        received(image="1", scope_failure=Failure(code="not_a_radiograph", message="modality CT")),
        received(image="3", scope_failure=Failure(code="not_an_image", message="a document")),
    )
    assert images(records) == [image(1, is_decoded=False), image(2, is_decoded=False)]
    records.intake.record_presence(f"o{STUDY}", is_present=False)
    assert images(records) == []
    assert records.worklist.image("9.9", 1) is None
