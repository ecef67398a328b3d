"""Transactions that want the same rows wait for each other in one order: real ones, at the same time, on PostgreSQL.

A third connection holds a row until both stand where they would have locked each other out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from tests.records import Clock, MakeAnalysis, Records, policy, received
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.records import Database
from worklist.triage import SiteChoices

_SOON_S = 60.0


@pytest.fixture
def database(migrated_postgres: str, clock: Clock) -> Iterator[Database]:
    """PostgreSQL alone: SQLite has one writer at a time."""
    with closing(Database(migrated_postgres, clock)) as opened:
        with opened.write() as session:
            session.execute(text("TRUNCATE studies, jobs, leases, policies, events CASCADE"))
        yield opened


@pytest.fixture
def records(database: Database, clock: Clock, make_analysis: MakeAnalysis) -> Records:
    """All sides of the records."""
    return Records(database=database, clock=clock, make_analysis=make_analysis)


@contextmanager
def held(database: Database, statement: str) -> Iterator[Callable[[int], None]]:
    """Rows that another connection holds; yields what waits until so many connections stand before a lock."""
    engine = create_engine(database.url)
    with engine.connect() as holder, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watch:
        holder.execute(text(statement))

        def wait_for(count: int) -> None:
            query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            deadline = time.monotonic() + _SOON_S
            while watch.execute(query).scalar_one() < count:
                assert time.monotonic() < deadline, "nobody waits"
                time.sleep(0.02)

        yield wait_for
        holder.rollback()
    engine.dispose()


def after(pool: ThreadPoolExecutor, wait_for: Callable[[int], None], *actions: Callable[[], object]) -> list[object]:
    """Begin each action once those before it wait; their futures."""
    begun: list[Future[object]] = []
    for action in actions:
        begun.append(pool.submit(action))
        wait_for(len(begun))
    return list(begun)


def outcomes(futures: list[object]) -> list[object]:
    """What the actions returned; a deadlock raises."""
    return [future.result(_SOON_S) for future in futures if isinstance(future, Future)]


def test_a_report_that_is_kept_and_a_message_that_comes_twice(records: Records) -> None:
    """Keeping a report inserts a row that refers to its study, which the second message's claim locks first."""
    records.jobs.adopt_policy(policy())
    records.ingest(received(), stable=["1.2.3"])
    records.score({FindingType.PLEURAL_EFFUSION: 0.9})
    records.ingest(stable=["1.2.3"])
    job = records.claim(Queue.REPORT)
    subject = records.jobs.report_subject(job)
    with ThreadPoolExecutor(2) as pool:
        with held(records.database, "SELECT 1 FROM studies FOR UPDATE") as wait_for:
            futures = after(
                pool,
                wait_for,
                lambda: records.jobs.claim(job.job_id, "another"),
                lambda: records.jobs.keep_report(job.job_id, "w", subject, subject.analysis),
            )
        assert outcomes(futures) == [None, records.clock.now]


def test_studies_that_are_compared_and_triaged_again(records: Records) -> None:
    """The patrol notes many studies at once while a new policy triages them: both take them by rising identifier."""
    records.jobs.adopt_policy(policy())
    studies = ["1.2.1", "1.2.2", "1.2.3"]
    for place, study in enumerate(reversed(studies)):  # no index has them in that order
        records.ingest(replace(received(study, study_date=f"2026112{place}"), orthanc_id=f"o{2 - place}"))
        records.score({FindingType.PLEURAL_EFFUSION: 0.9})
    with ThreadPoolExecutor(2) as pool:
        with held(records.database, "SELECT 1 FROM studies WHERE study_instance_uid = '1.2.2' FOR UPDATE") as wait_for:
            futures = after(
                pool,
                wait_for,
                lambda: records.jobs.adopt_policy(policy(site=SiteChoices(steepness=2))),
                lambda: records.intake.record_whole(["o0", "o1", "o2"]),
            )
        assert outcomes(futures) == [True, None]


@pytest.mark.parametrize("note", ["record", "forget"])
def test_messages_are_noted_without_waiting_for_whoever_has_the_job(records: Records, note: str) -> None:
    """A worker that holds a job may want others of its study: the dispatcher passes its job over."""
    for study in ("1.2.1", "1.2.2"):
        records.ingest(received(study))
    taken, free = records.due(Queue.SCORE)
    records.jobs.record_enqueued([taken, free])
    with held(records.database, f"SELECT 1 FROM jobs WHERE job_id = '{taken}' FOR UPDATE"):  # noqa: S608
        if note == "record":
            records.jobs.record_enqueued([taken, free])
        else:
            records.jobs.forget_enqueued()
    with records.database.read() as session:
        enqueues = {row.job_id: row.enqueues for row in session.execute(text("SELECT job_id, enqueues FROM jobs"))}
    assert enqueues == {taken: 1, free: 2 if note == "record" else 0}


def test_workers_that_clear_away_the_dead_wait_for_nobody(records: Records) -> None:
    """A worker that says that it lives deletes the rows of those that ended long ago, which another may be doing."""
    with records.database.write() as session:
        session.execute(
            text(
                "INSERT INTO leases (name, holder, number, held_until) "
                "VALUES ('worker score gone', 'gone', 1, '2020-01-01')"
            )
        )
    with held(records.database, "DELETE FROM leases"):
        records.jobs.say_alive((Queue.SCORE,))
    assert records.jobs.living_workers()[Queue.SCORE] == 1
