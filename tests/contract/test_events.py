"""What happened, in order, and how those who watch hear of it, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from threading import Event as Flag
from threading import Thread

import pytest
from sqlalchemy import text

from tests.records import (
    ANN,
    BEN,
    NOON,
    SECOND,
    STUDY,
    Records,
    at_once,
    policy,
    received,
    report_of,
)
from worklist.finding import FindingType
from worklist.records import Database, EventKind, Worklist
from worklist.records.events import record
from worklist.records.tables import StudyRow
from worklist.site import SiteRules

_EVENTS = text("SELECT sequence, study_instance_uid, kind FROM events WHERE sequence > :after ORDER BY sequence")
_LONG_S = 60.0
EFFUSION = {FindingType.PLEURAL_EFFUSION: 0.7}


def test_the_history_of_a_study_tells_everything(records: Records) -> None:
    """What came, what was found by which policy, where it stood, and who did what: in order, and never rewritten."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(), stable=[STUDY])
    records.clock.forward(SECOND)
    records.score(EFFUSION, 0.7)
    records.readings.claim(ANN, STUDY)
    records.report()
    records.readings.complete(ANN, STUDY)
    records.ingest(received(image="2"))
    records.ingest(report_of(STUDY, at=NOON + SECOND))
    assert records.kinds() == [
        *("arrived", "image", "complete"),
        *("scored", "triaged", "claimed", "reported", "triaged", "read"),
        *("image", "returned", "triaged", "read"),
    ]
    events = {event.kind: event for event in records.readings.history(STUDY)[:9]}
    assert events["arrived"].detail == {"reading": "unread", "number": 1}
    assert events["image"].detail == {"image": f"{STUDY}.1.1"}
    assert (events["scored"].at, events["scored"].actor) == (NOON + SECOND, "Firstread")
    assert events["scored"].detail == {
        "image": f"{STUDY}.1.1",
        "score": 0.7,
        "scorer": "0" * 64,
        "waited_s": 1.0,
        "scoring_s": None,
    }
    claimed = events["claimed"]
    assert (claimed.actor, claimed.detail["reading"], claimed.detail["urgency"]) == ("Ann", "reading", "urgent")
    assert claimed.detail["policy"] == policy().digest
    assert claimed.detail["received_at"] == "2026-11-22 12:00:00+00:00"
    assert events["reported"].detail == {"revision": 1, "objects": 1, "policy": policy().digest}
    triaged = records.readings.history(STUDY)[4]
    assert triaged.detail["urgency"] == "urgent"
    assert triaged.detail["reason"] == "Pleural effusion likely"
    returned, *_, read = records.readings.history(STUDY)[-3:]
    assert returned.detail["why"] == "new image"
    assert (read.actor, read.detail["how"], read.detail["number"]) == ("Dr Roe", "report", 2)


def test_numbers_rise_and_name_each_study_once(records: Records) -> None:
    """Asked from a number on, each study that changed comes once, with its present line."""
    assert records.worklist.newest() == 0
    assert records.worklist.changed_after(0) == (0, [], [])
    records.ingest(received("1.1"), received("1.2", at=NOON + SECOND))
    newest, changed, gone = records.worklist.changed_after(0)
    assert newest == records.worklist.newest() > 0
    assert ([line.study_instance_uid for line in changed], gone) == (["1.1", "1.2"], [])
    records.jobs.adopt_policy(policy())  # of no study
    assert records.worklist.changed_after(newest) == (newest + 1, [], [])
    newest += 1
    records.score()
    records.score(EFFUSION)
    newest, changed, _ = records.worklist.changed_after(newest)
    assert [(line.study_instance_uid, line.rank) for line in changed] == [("1.1", 2), ("1.2", 1)]
    assert records.worklist.changed_after(newest) == (newest, [], [])


def test_many_changes_at_once_are_told_of(records: Records) -> None:
    """More studies than one statement may name."""
    uids = [f"1.{number}" for number in range(510)]
    records.ingest(*(received(uid) for uid in uids))
    _, changed, gone = records.worklist.changed_after(0)
    assert (len(changed), gone) == (510, [])
    assert sorted(line.rank for line in changed) == list(range(1, 511))


def test_nobody_who_asks_by_number_misses_an_event(records: Records) -> None:
    """However many write at once: whoever has seen a number has seen all smaller ones."""
    uids = [f"1.{number}" for number in range(8)]
    records.ingest(*(received(uid) for uid in uids))
    start = records.worklist.newest()
    is_done = Flag()
    seen: list[str] = []

    def watch() -> None:
        number = start
        while True:
            was_done = is_done.is_set()
            with records.database.read() as session:
                rows = session.execute(_EVENTS, {"after": number}).all()
            seen.extend(f"{sequence} {uid} {kind}" for sequence, uid, kind in rows)
            number = rows[-1][0] if rows else number
            if was_done and not rows:
                return

    def work(uid: str) -> None:
        for _ in range(6):
            records.readings.claim(ANN, uid)
            records.readings.put_back(ANN, uid)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        at_once(*(partial(work, uid) for uid in uids))
    finally:
        is_done.set()
        watcher.join()
    with records.database.read() as session:
        rows = session.execute(_EVENTS, {"after": start}).all()
    assert seen == [f"{sequence} {uid} {kind}" for sequence, uid, kind in rows]
    assert len(seen) == 8 * 6 * 2
    for uid in uids:
        kinds = [line.split()[2] for line in seen if line.split()[1] == uid]
        assert kinds == ["claimed", "put"] * 6


@contextmanager
def waiting(records: Records, gathered_s: float = 0.0) -> Iterator[queue.SimpleQueue[int]]:
    """Another process waits for commits; yields the newest event's number at each look, from the first one on."""
    url = records.database.url.render_as_string(hide_password=False)
    seen = queue.SimpleQueue[int]()
    must_stop = Flag()

    def wait() -> None:
        with closing(Database(url)) as other:
            worklist = Worklist(other, SiteRules())
            for _ in other.commits(must_stop.is_set, gathered_s):
                seen.put(worklist.newest())

    waiter = Thread(target=wait)
    waiter.start()
    try:
        assert seen.get(timeout=_LONG_S) == 0  # it listens
        yield seen
    finally:
        must_stop.set()
        records.ingest(received("1.99"))
        waiter.join(_LONG_S)
    assert not waiter.is_alive()


def test_a_commit_wakes_those_who_wait(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process's connection, by the notice and not by the slow look, and again for each."""
    monkeypatch.setattr("worklist.records.database._SLOW_LOOK_S", 3600.0)  # only a notice wakes in time
    with waiting(records) as seen:
        for uid in ("1.1", "1.2"):
            records.ingest(received(uid))
            while seen.get(timeout=_LONG_S) < records.worklist.newest():
                pass  # woken once too often


def test_commits_of_one_moment_are_looked_at_once(records: Records) -> None:
    """Whoever gathers sees all of them at the first look after them, and wakes as often as a burst comes."""
    with waiting(records, gathered_s=2.0) as seen:
        for number in count(1):
            began = time.monotonic()
            records.ingest(received(f"1.{number}.1"))
            first = records.worklist.newest()
            records.ingest(received(f"1.{number}.2"))
            last = records.worklist.newest()
            is_moment = time.monotonic() - began < 1  # else the machine stood still between the two
            while (heard := seen.get(timeout=_LONG_S)) < first:
                pass
            if is_moment:
                assert heard == last > first
                return
            while heard < last:
                heard = seen.get(timeout=_LONG_S)


def test_a_change_that_fails_leaves_no_event(records: Records) -> None:
    """History is written in the transaction of its change, or not at all."""
    records.ingest(received())
    before = (records.worklist.newest(), records.kinds())

    def change_and_fail() -> None:
        with records.database.write() as session:
            record(session, EventKind.READ, session.get_one(StudyRow, f"o{STUDY}"), by=BEN)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()
    assert (records.worklist.newest(), records.kinds()) == before
