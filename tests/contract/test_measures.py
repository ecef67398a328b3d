"""What monitoring is told: what stands where, how long it waits, and how long it took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.records import ANN, DAY, HOUR, NOON, SECOND, STUDY, Records, received, scorer_card
from worklist.errors import UnusableImage
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.reading import ReadingState
from worklist.records.measures import Depth, Measures, Milestone, Passed, Standing
from worklist.triage import SiteChoices, TriagePolicy, Urgency

BLANK = UnusableImage("blank_image", "Every pixel has the same value: the film is blank.")


@pytest.fixture
def measures(records: Records) -> Measures:
    """The counts of these records; a study is overdue after a day."""
    return Measures(records.database, DAY)


def test_the_way_of_a_study_is_timed_once(records: Records, measures: Measures) -> None:
    """Score, first report and first reading, from its arrival, under the urgency it has now; nothing twice."""
    assert records.jobs.adopt_policy(TriagePolicy.of(scorer_card(flag_from=0.4), SiteChoices()))
    begin = measures.newest()
    records.ingest(received())
    records.clock.forward(2 * SECOND)
    records.score({FindingType.PLEURAL_EFFUSION: 0.9}, score=0.9)
    records.ingest(stable=[STUDY])
    records.clock.forward(3 * SECOND)
    records.report()
    records.clock.forward(HOUR)
    records.readings.complete(ANN, STUDY)
    newest, passed = measures.passed(begin)
    assert [(one.milestone, one.after_s) for one in passed] == [
        (Milestone.SCORED, 2.0),
        (Milestone.REPORTED, 5.0),
        (Milestone.READ, 3605.0),
    ]
    assert {one.urgency for one in passed} == {Urgency.URGENT}
    assert measures.passed(newest) == (newest, [])


def test_a_later_image_counts_from_its_own_arrival(records: Records, measures: Measures) -> None:
    """A second film an hour later does not make the score, or the first report, seem an hour late."""
    records.ingest(received())
    records.score()
    records.ingest(stable=[STUDY])
    records.report()
    begin = measures.newest()
    records.clock.forward(HOUR)
    records.ingest(received(image="2"))
    records.clock.forward(SECOND)
    records.score()
    records.ingest(stable=[STUDY])
    records.report()
    assert measures.passed(begin)[1] == [Passed(milestone=Milestone.SCORED, urgency=None, after_s=1.0)]


def test_what_lay_in_the_pacs_before_is_not_timed(records: Records, measures: Measures) -> None:
    """A look back finds films of last week: they did not wait for Firstread, and hours of them wake nobody."""
    records.ingest(replace(received(), is_past=True))
    records.clock.forward(HOUR)
    assert measures.now().queues[Queue.SCORE] == Depth(waiting=1, working=0, oldest_s=0.0)
    records.score()
    assert measures.passed(0)[1] == []


def test_what_stands_and_waits_is_counted(records: Records, measures: Measures) -> None:
    """The list by urgency and reading, what is overdue, queues, failures by code, and workers."""
    records.ingest(received("1.1", at=NOON - 2 * DAY), received("1.2"), received("1.3"))
    records.fail(Queue.SCORE, BLANK)
    records.readings.claim(ANN, "1.2")
    records.claim(Queue.SCORE)
    records.jobs.say_alive((Queue.SCORE,))
    records.clock.forward(10 * SECOND)
    now = measures.now()
    assert set(now.listed) == {
        Standing(urgency=None, reading=ReadingState.UNREAD, studies=2, oldest_s=2 * DAY.total_seconds() + 10),
        Standing(urgency=None, reading=ReadingState.READING, studies=1, oldest_s=10.0),
    }
    assert now.overdue == 1
    assert now.queues == {Queue.SCORE: Depth(waiting=1, working=1, oldest_s=10.0), Queue.REPORT: Depth()}
    assert now.failed == {"blank_image": 1}
    assert now.workers == {Queue.SCORE: 1, Queue.REPORT: 0, Queue.PREDICT: 0, Queue.DICTATE: 0}


def test_an_empty_site_is_counted_too(measures: Measures) -> None:
    """Nothing has arrived: zeros where something could be, and no line of studies."""
    now = measures.now()
    assert (now.listed, now.overdue, dict(now.failed)) == ((), 0, {})
    assert measures.passed(0) == (measures.newest(), [])
