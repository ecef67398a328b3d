"""What people do with studies, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text

from tests.records import (
    ANN,
    BEN,
    DAY,
    HOUR,
    NOON,
    SECOND,
    STUDY,
    Records,
    at_once,
    policy,
    received,
    report_of,
)
from worklist.errors import Conflict, FilmArrived, InvalidInput
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.reading import Actor, HowRead, Reading, ReadingState
from worklist.records import GoneStudy, ListedStudy, Shown
from worklist.site import SiteRules
from worklist.triage import Urgency

MILLISECOND = timedelta(milliseconds=1)
LEASE = SiteRules().reading_lease
PNEUMOTHORAX = {FindingType.PNEUMOTHORAX: 0.95}


def test_what_is_read_leaves_the_list_at_once(records: Records) -> None:
    """It is on no page of the list and in no count, watchers see it leave, and the next one moves up."""
    records.ingest(received("1.1"), received("1.2"))
    before = records.worklist.newest()
    reading = records.readings.complete(ANN, "1.1")
    assert reading == Reading(state=ReadingState.READ, since=NOON, reader="Ann", how=HowRead.BY_HAND)
    assert records.listed() == ["1.2"]
    assert records.study("1.2").rank == 1
    assert records.worklist.counts().listed == 1
    assert records.worklist.changed_after(before) == (before + 1, [], [GoneStudy(study_instance_uid="1.1")])
    assert records.study("1.1").reading == reading
    total, (read,) = records.worklist.page(shown=Shown.READ)
    assert (total, read.study_instance_uid) == (1, "1.1")


def test_a_film_that_came_after_the_reading_began_is_told_before_it_is_read(records: Records) -> None:
    """Who read a study before its second film came learns of it once, and nothing is read before."""
    records.ingest(received(STUDY, "1"))
    claimed = records.readings.claim(ANN, STUDY)
    records.clock.forward(SECOND)
    records.ingest(received(STUDY, "2", at=NOON + SECOND))
    records.clock.forward(SECOND)
    with pytest.raises(FilmArrived) as told:
        records.readings.complete(ANN, STUDY, seen_at=claimed.since)
    assert told.value.at == NOON + SECOND
    assert records.study(STUDY).reading.state is ReadingState.READING
    assert records.readings.complete(ANN, STUDY, seen_at=told.value.at).state is ReadingState.READ
    assert records.readings.complete(ANN, STUDY, seen_at=claimed.since).state is ReadingState.READ  # said again


def test_on_the_second_morning_todays_emergency_stands_first(records: Records) -> None:
    """However many were read yesterday, what came today is on the first page, and a critical study leads it."""
    records.jobs.adopt_policy(policy())
    yesterday = [f"1.{number}" for number in range(1, 31)]
    records.ingest(*(received(study, at=NOON) for study in yesterday))
    for study in yesterday:
        records.readings.complete(ANN, study)
    today = NOON + 24 * HOUR
    records.clock.forward(24 * HOUR)
    records.ingest(received("2.1", at=today), received("2.2", at=today + SECOND))
    while records.due(Queue.SCORE):
        job = records.claim(Queue.SCORE)
        is_sick = job.study_instance_uid == "2.2"
        findings = PNEUMOTHORAX if is_sick else {FindingType.PLEURAL_EFFUSION: 0.1}
        assert records.jobs.complete_score(job.job_id, "w", records.analysis_of(job, findings))
    total, first_page = records.worklist.page(limit=10)
    assert total == 2
    assert [(line.rank, line.study_instance_uid) for line in first_page] == [(1, "2.2"), (2, "2.1")]
    assert first_page[0].urgency is Urgency.CRITICAL


def test_a_claimed_study_stays_on_the_list_under_its_readers_name(records: Records) -> None:
    """At its place, until it is read; a renewal moves the lease and nothing else, and makes no history."""
    records.ingest(received("1.1"), received("1.2"))
    records.clock.forward(SECOND)
    claimed = records.readings.claim(ANN, "1.1")
    assert claimed == Reading(
        state=ReadingState.READING, since=NOON + SECOND, reader="Ann", lease_until=NOON + SECOND + LEASE
    )
    assert records.listed() == ["1.1", "1.2"]
    assert records.study("1.1").reading == claimed
    before = records.worklist.newest()
    records.clock.forward(10 * SECOND)
    renewed = records.readings.claim(ANN, "1.1")
    assert renewed == replace(claimed, lease_until=NOON + 11 * SECOND + LEASE)
    assert records.study("1.1").reading == renewed
    assert records.worklist.newest() == before


def test_of_two_who_claim_at_once_one_wins(records: Records) -> None:
    """The others are told who has it."""
    records.ingest(received())

    def claim(actor: Actor) -> object:
        try:
            return records.readings.claim(actor, STUDY)
        except Conflict as conflict:
            return conflict

    actors = [ANN, BEN, replace(ANN, name="Cem"), replace(ANN, name="Dee")]
    outcomes = at_once(*(partial(claim, actor) for actor in actors))
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Reading)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert len(lost) == 3
    assert {(conflict.code, conflict.status) for conflict in lost} == {("being_read", "C301")}
    assert all(conflict.message.startswith(f"{won.reader} is reading this study") for conflict in lost)
    assert records.study().reading == won


def test_a_foreign_claim_is_respected(records: Records) -> None:
    """Neither claimed, completed nor put back by another; refused, nothing changes."""
    records.ingest(received())
    records.readings.claim(ANN, STUDY)
    before = (records.study(), records.worklist.newest())
    for step in (records.readings.claim, records.readings.complete, records.readings.put_back):
        with pytest.raises(Conflict, match="Ann is reading"):
            step(BEN, STUDY)
    assert (records.study(), records.worklist.newest()) == before


def test_the_claim_of_a_browser_that_went_away_lapses(records: Records) -> None:
    """Nobody need do anything: it is given up at its time, in the name of Firstread, once."""
    records.ingest(received())
    records.readings.claim(ANN, STUDY)
    records.clock.forward(LEASE - MILLISECOND)
    assert records.readings.lapse() == 0
    later = records.clock.forward(MILLISECOND)
    assert records.readings.lapse() == 1
    assert records.readings.lapse() == 0
    assert records.study().reading == Reading(state=ReadingState.UNREAD, since=later, number=2)
    *_, claimed, lapsed = records.readings.history(STUDY)
    assert [(event.kind, event.actor) for event in (claimed, lapsed)] == [("claimed", "Ann"), ("lapsed", "Firstread")]


def test_a_lapsed_claim_is_no_bar_before_the_sweep_either(records: Records) -> None:
    """Whoever comes next claims it, and the history still tells that the first claim lapsed."""
    records.ingest(received())
    records.readings.claim(ANN, STUDY)
    later = records.clock.forward(LEASE)
    claimed = records.readings.claim(BEN, STUDY)
    assert (claimed.reader, claimed.since) == ("Ben", later)
    assert records.kinds()[-3:] == ["claimed", "lapsed", "claimed"]
    with pytest.raises(Conflict, match="Ben is reading"):
        records.readings.complete(ANN, STUDY)


def test_putting_back_reopens_in_the_next_round(records: Records) -> None:
    """A claim that is given up opens a round, and so does a read study, which stands where it stood, by arrival."""
    records.ingest(received("1.1"), received("1.2", at=NOON + SECOND))
    records.readings.claim(ANN, "1.1")
    assert records.readings.put_back(ANN, "1.1").number == 2
    records.readings.complete(ANN, "1.1")
    assert records.readings.complete(BEN, "1.1").reader == "Ann"
    with pytest.raises(Conflict, match="Ann has read this study: put it back first"):
        records.readings.claim(BEN, "1.1")
    assert records.readings.put_back(BEN, "1.1").number == 3
    before = records.worklist.newest()
    assert records.readings.put_back(BEN, "1.1").number == 3
    assert records.worklist.newest() == before
    assert records.listed() == ["1.1", "1.2"]
    assert records.study("1.1").received_at == NOON
    assert records.kinds("1.1")[-4:] == ["claimed", "put back", "read", "put back"]


def test_a_study_that_is_not_there_is_named(records: Records) -> None:
    """Unknown, or withdrawn while it was being read: whoever reads it is told so, and its claim ends with it."""
    records.ingest(received())
    records.readings.claim(ANN, STUDY)
    records.intake.record_presence(f"o{STUDY}", is_present=False)
    for uid in (STUDY, "1.2.999"):
        with pytest.raises(InvalidInput, match=f"there is no study {uid} on the list"):
            records.readings.complete(ANN, uid)
    records.clock.forward(HOUR)
    assert records.readings.lapse() == 0
    records.ingest(received(at=NOON + HOUR))
    assert records.study().reading == Reading(state=ReadingState.UNREAD, since=NOON + HOUR, number=2)


# ---- Coming back ----


def test_an_image_1_ms_after_a_study_was_read_brings_it_back(records: Records) -> None:
    """Marked, in the next round, and in the queue by when that image came."""
    records.ingest(received("1.1"), received("1.2", at=NOON + HOUR))
    records.clock.forward(2 * HOUR)
    records.readings.complete(ANN, "1.1")
    later = records.clock.forward(MILLISECOND)
    records.ingest(received("1.1", image="2", at=later))
    study = records.study("1.1")
    assert study.reading == Reading(state=ReadingState.UNREAD, since=later, returned_for="new image", number=2)
    assert (study.received_at, study.queue_at, study.rank) == (later, later, 2)
    assert study.reason == "Read before, back for a new image"
    assert "returned" in records.kinds("1.1")
    records.ingest(received("1.1", image="2", at=later))
    assert records.study("1.1") == study


def test_what_is_no_new_image_brings_nothing_back(records: Records) -> None:
    """Neither a document nor an image that is known, nor our own work on it."""
    records.ingest(received(), stable=[STUDY])
    records.readings.complete(ANN, STUDY)
    records.ingest(received(), received(image="9", scope_failure=None, digest="a", study="1.9"))
    records.score({FindingType.PLEURAL_EFFUSION: 0.9})
    records.score()
    records.report()
    assert records.study().reading.state is ReadingState.READ


def test_a_new_critical_finding_brings_a_read_study_back(records: Records) -> None:
    """It was read before it was scored, or scored anew: nobody has seen that finding flagged."""
    records.jobs.adopt_policy(policy())
    records.ingest(received("1.1", at=NOON - DAY), received("1.2", at=NOON - DAY))
    records.readings.complete(ANN, "1.1")
    records.readings.complete(ANN, "1.2")
    later = records.clock.forward(SECOND)
    records.score(PNEUMOTHORAX)
    records.score({FindingType.PLEURAL_EFFUSION: 0.9})
    assert records.listed() == ["1.1"]
    study = records.study("1.1")
    assert study.reading.returned_for == "new critical finding"
    assert (study.urgency, study.received_at, study.is_overdue) == (Urgency.CRITICAL, later, False)
    assert study.queue_at == later - 16 * HOUR
    assert study.reason == "Read before, back for a new critical finding. Pneumothorax likely"
    records.readings.complete(BEN, "1.1")
    records.ingest(stable=["1.1"])
    records.report()
    assert records.study("1.1").reading.state is ReadingState.READ  # known by now


def test_an_image_while_a_study_is_being_read_leaves_it_there(records: Records) -> None:
    """The claim stands, and the reader sees the image arrive."""
    records.ingest(received())
    claimed = records.readings.claim(ANN, STUDY)
    before = records.worklist.newest()
    records.ingest(received(image="2"))
    assert records.study().reading == claimed
    _, changed, _ = records.worklist.changed_after(before)
    assert [line.study_instance_uid for line in changed] == [STUDY]


# ---- Reports in the PACS ----


def test_a_radiologists_report_completes_the_reading(records: Records) -> None:
    """Whoever claimed the study; a report on a study that is not known, or read already, changes nothing."""
    records.ingest(received("1.1"), received("1.2"), received("1.3"))
    records.readings.claim(ANN, "1.1")
    records.readings.complete(ANN, "1.3")
    later = records.clock.forward(SECOND)
    records.ingest(report_of("1.1"), report_of("1.3"), report_of("1.999"))
    assert records.study("1.1").reading == Reading(
        state=ReadingState.READ, since=later, reader="Dr Roe", how=HowRead.REPORT
    )
    assert records.study("1.3").reading.reader == "Ann"
    assert records.listed() == ["1.2"]
    last = records.readings.history("1.1")[-1]
    assert (last.kind, last.actor, last.detail["how"]) == ("read", "Dr Roe", "report")


def test_an_image_after_the_report_in_the_same_stretch_is_unread(records: Records) -> None:
    """What came after the report its author has not seen; what came before, has been read."""
    records.ingest(received("1.1"), report_of("1.1"), received("1.1", image="2"))
    assert records.study("1.1").reading.returned_for == "new image"
    records.ingest(received("1.2"), received("1.2", image="2"), report_of("1.2"))
    assert records.study("1.2").reading.state is ReadingState.READ


def test_a_report_that_is_told_of_again_reads_nothing_newer(records: Records) -> None:
    """Where a feed is read afresh, a report of before does not read the image that brought its study back."""
    records.ingest(received("1.1"), report_of("1.1", at=NOON + SECOND))
    records.ingest(received("1.1", image="2", at=NOON + HOUR))
    records.clock.forward(HOUR)
    records.ingest(report_of("1.1", at=NOON + SECOND))
    assert records.listed() == ["1.1"]
    records.ingest(report_of("1.1", at=NOON + 2 * HOUR))
    assert records.listed() == []


# ---- Priors ----

OLD = "20250101"


def test_a_study_of_long_ago_stands_aside(records: Records) -> None:
    """Counted, in order of arrival, unraised by order or finding, never among the work; one step makes it work."""
    records.jobs.adopt_policy(policy())
    records.ingest(
        received("1.1", at=NOON - HOUR, study_date=OLD),
        received("1.2", at=NOON - 2 * HOUR, study_date=OLD, order_priority=OrderPriority.STAT),
        received("1.3"),
    )
    for _ in range(3):
        records.score(PNEUMOTHORAX)
    assert records.listed() == ["1.3"]
    assert records.worklist.counts().priors == 2
    total, priors = records.worklist.page(shown=Shown.PRIOR)
    assert (total, [line.study_instance_uid for line in priors]) == (2, ["1.2", "1.1"])
    assert [line.queue_at for line in priors] == [line.received_at for line in priors]
    assert [line.rank for line in priors] == [1, 2]
    records.readings.put_back(ANN, "1.2")
    assert records.listed() == ["1.2", "1.3"]
    assert records.study("1.2").queue_at == NOON - 18 * HOUR
    assert records.worklist.counts().priors == 1


def test_a_site_may_take_nothing_for_a_prior(records: Records) -> None:
    """Without a limit every study is work, and so is one without a readable date."""
    site = Records(records.database, records.clock, records.make_analysis, SiteRules(prior_after=None))
    site.ingest(received("1.1", study_date=OLD))
    records.ingest(received("1.2", study_date="01.01.2025"), received("1.3", study_date=""))
    assert site.listed() == ["1.1", "1.2", "1.3"]


def test_a_prior_that_comes_with_its_report_stays_aside(records: Records) -> None:
    """Its report reads it; the rest of its images, or what is found on them, brings it back as a prior, not as work."""
    records.jobs.adopt_policy(policy())
    records.ingest(received("1.1", study_date=OLD), received("1.2", study_date=OLD))
    records.ingest(report_of("1.1"), report_of("1.2"))
    assert records.worklist.counts().priors == 0
    records.ingest(received("1.1", image="2", study_date=OLD))
    records.score()
    records.score()
    records.score(PNEUMOTHORAX)
    assert records.listed() == []
    priors = records.worklist.page(shown=Shown.PRIOR)[1]
    assert [(line.study_instance_uid, line.reading.returned_for) for line in priors] == [
        ("1.1", "new image"),
        ("1.2", "new critical finding"),
    ]


def test_a_prior_that_was_made_work_comes_back_as_work(records: Records) -> None:
    """A late image of a study that somebody here has read is for them to see."""
    records.ingest(received(study_date=OLD))
    records.readings.complete(ANN, STUDY)
    records.ingest(received(image="2", study_date=OLD))
    assert records.listed() == [STUDY]


# ---- Beside a later version ----


def test_states_of_which_only_a_later_version_knows_hide_nothing(records: Records) -> None:
    """Such a study is on the list as unread, others are too, and what the later version wrote stays."""
    records.ingest(received("1.1"), received("1.2"))
    records.readings.claim(ANN, "1.1")
    with records.database.write() as session:
        session.execute(
            text(
                "UPDATE studies SET reading_state = 'dictated', state = 'compared', order_priority = 'ASAP', "
                "how_read = 'voice' WHERE study_instance_uid = '1.1'"
            )
        )
    assert records.listed() == ["1.1", "1.2"]
    line: ListedStudy = records.study("1.1")
    assert (line.reading.state, line.reading.reader, line.order_priority) == (
        ReadingState.UNREAD,
        "Ann",
        OrderPriority.ROUTINE,
    )
    records.ingest(received("1.1", image="2"))
    records.score()
    with records.database.read() as session:
        kept = session.execute(
            text("SELECT reading_state, order_priority, how_read FROM studies WHERE study_instance_uid = '1.1'")
        ).one()
    assert tuple(kept) == ("dictated", "ASAP", "voice")
    assert records.states(Queue.SCORE)
    records.readings.complete(BEN, "1.1")
    assert records.listed() == ["1.2"]
