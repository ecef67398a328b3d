"""Leases: one process at a time, until it ends, hangs or vanishes; and workers that say that they live."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from tests.records import SECOND, Records, received
from worker.heartbeat import Heartbeat, broker_answers
from worklist.errors import TransientError
from worklist.job import Queue
from worklist.records import Database, FeedCursor, IntakeRecords, Lease
from worklist.records.leases import LENGTH
from worklist.records.tables import LeaseRow

CURSOR = FeedCursor(sequence=1, marks=("1 x",))


@pytest.fixture
def other(records: Records) -> Iterator[Database]:
    """The same database, as another process opens it."""
    url = records.database.url.render_as_string(hide_password=False)
    with closing(Database(url, clock=records.clock)) as database:
        yield database


def test_one_process_holds_a_lease(records: Records, other: Database) -> None:
    """Another one gets it when it is released, and not before, however long that is."""
    ours, theirs, another = Lease(records.database, "a"), Lease(other, "a"), Lease(other, "b")
    assert ours.hold()
    assert not theirs.hold()
    assert another.hold()
    for _ in range(10):
        records.clock.forward(LENGTH / 2)
        assert ours.hold()
        assert not theirs.hold()
    ours.release()
    assert theirs.hold()
    assert not ours.hold()


def test_a_holder_that_hangs_loses_it_and_writes_nothing_any_more(records: Records, other: Database) -> None:
    """Another one takes it once it has lapsed, and what the first one then brings is refused."""
    ours, theirs = Lease(records.database, "feed"), Lease(other, "feed")
    assert ours.hold()
    records.clock.forward(LENGTH + SECOND)
    assert theirs.hold()
    with pytest.raises(TransientError) as lost:
        records.intake.ingest([received()], [], feed="f", cursor=CURSOR, lease=ours)
    assert lost.value.code == "lease_lost"
    assert records.intake.cursor("f") is None
    IntakeRecords(other, records.rules).ingest([received()], [], feed="f", cursor=CURSOR, lease=theirs)
    assert records.intake.cursor("f") == CURSOR
    assert not ours.hold()


def test_a_holder_that_nobody_replaced_goes_on(records: Records) -> None:
    """It has lapsed, and is still ours where nobody else wanted it."""
    ours = Lease(records.database, "feed")
    assert ours.hold()
    records.clock.forward(10 * LENGTH)
    assert ours.hold()
    records.intake.ingest([received()], [], feed="f", cursor=CURSOR, lease=ours)


def test_a_process_of_this_machine_that_died_is_replaced_at_once(records: Records) -> None:
    """Its lease has not lapsed, and nobody waits for that: a gateway that is started again goes on within a second."""
    program = (
        "import sys; from worklist.records import Database, Lease; "
        "print(Lease(Database(sys.argv[1]), 'feed').hold(), flush=True)"
    )
    url = records.database.url.render_as_string(hide_password=False)
    said = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True).stdout
    assert said == "True\n"
    with records.database.write() as session:
        row = session.get(LeaseRow, "feed")
        assert row is not None
        row.until = records.clock.now + LENGTH
    assert Lease(records.database, "feed").hold()


def test_a_clock_that_was_set_back_frees_a_lease(records: Records, other: Database) -> None:
    """A moment further ahead than a lease is long was never meant."""
    assert Lease(other, "feed").hold()
    records.clock.forward(timedelta(minutes=-20))
    assert Lease(records.database, "feed").hold()


def test_workers_are_known_while_they_say_that_they_live(records: Records) -> None:
    """By queue; one that has said nothing for half a minute does not count."""
    assert records.jobs.living_workers() == {Queue.SCORE: 0, Queue.REPORT: 0, Queue.PREDICT: 0, Queue.DICTATE: 0}
    records.jobs.say_alive((Queue.REPORT, Queue.PREDICT))
    records.jobs.say_alive((Queue.REPORT, Queue.PREDICT))
    assert records.jobs.living_workers() == {Queue.SCORE: 0, Queue.REPORT: 1, Queue.PREDICT: 1, Queue.DICTATE: 0}
    records.clock.forward(40 * SECOND)
    assert set(records.jobs.living_workers().values()) == {0}


def test_a_worker_that_ends_by_itself_is_gone_at_once(records: Records) -> None:
    """Its heart takes back what it said, and what another process said stands."""
    heart = Heartbeat(records.jobs, [Queue.SCORE, Queue.REPORT], lambda: True)
    heart.beat()
    assert {queue for queue, count in records.jobs.living_workers().items() if count} == {Queue.SCORE, Queue.REPORT}
    heart.start()
    heart.stop()
    assert set(records.jobs.living_workers().values()) == {0}


def test_a_worker_that_hears_nothing_ends_itself(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where messages were sent and nobody took them, it had nothing to do meanwhile, and the broker answers."""
    ended: list[str] = []
    answers = [False]
    moment = [1000.0]
    monkeypatch.setattr("worker.heartbeat.time.monotonic", lambda: moment[0])
    heart = Heartbeat(records.jobs, [Queue.SCORE], lambda: answers[0], lambda: ended.append("ended"))
    records.ingest(received())
    moment[0] += 61
    heart.beat()
    assert ended == []  # nothing was sent
    records.jobs.record_enqueued([job_id for job_id, _ in records.jobs.due(1)])
    records.clock.forward(61 * SECOND)
    with heart.working():
        moment[0] += 61
        heart.beat()
    heart.beat()
    assert ended == []  # it was at work until now
    moment[0] += 61
    heart.beat()
    assert ended == []  # a broker that is away is waited for
    answers[0] = True
    heart.beat()
    assert ended == ["ended"]
    assert records.jobs.living_workers()[Queue.SCORE] == 1


def test_a_broker_that_answers_is_known(redis_url: str) -> None:
    """By a new connection; one that nobody listens at does not."""
    assert broker_answers(redis_url)
    assert not broker_answers("redis://127.0.0.1:1/0")
