"""The reading list as people see it, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.event import listen, remove

import migrations
from tests.records import (
    ANN,
    DAY,
    HOUR,
    NOON,
    SECOND,
    STUDY,
    Clock,
    MakeAnalysis,
    Records,
    policy,
    received,
    result,
)
from tests.servers import PostgresServer
from worklist.finding import FindingType
from worklist.order import OrderKey, OrderPriority
from worklist.records import Database, ListCounts, ListedStudy, Shown
from worklist.study import StudyState

ABOUT_WHAT_IS_OPEN = re.compile(
    r"ix_studies_(list|arrival|priors|read|incomplete|claimed)|ix_jobs_open|ix_policies|CONSTANT ROW"
)
TABLE = re.compile(r"SCAN (studies|other|newest|bearer|instances|analyses|reports|results|jobs\w*|events|policies)\b")
PRIORITIES = [OrderPriority.ROUTINE, OrderPriority.ROUTINE, OrderPriority.STAT, OrderPriority.HIGH, OrderPriority.LOW]


def fill(records: Records, count: int = 40) -> None:
    """Studies of every kind, some of which arrived at the same second."""
    chance = random.Random(0)  # noqa: S311 - no secret
    records.jobs.adopt_policy(policy())
    for number in range(count):
        at = NOON + chance.randrange(5) * SECOND
        records.ingest(received(f"1.{number}", at=at, order_priority=chance.choice(PRIORITIES)))
        if chance.random() < 0.6:
            records.score({FindingType.PNEUMOTHORAX: chance.random()}, chance.random())


def sort_key(line: ListedStudy) -> tuple[bool, datetime, datetime, str, str]:
    """The domain's own key of a line."""
    return OrderKey(
        order_priority=line.order_priority,
        queue_at=line.queue_at,
        received_at=line.received_at,
        study_instance_uid=line.study_instance_uid,
        orthanc_id=line.orthanc_id,
    ).sort_key


def test_the_list_is_in_reading_order(records: Records) -> None:
    """The database sorts as the domain's own key does; ranks count over all pages and states."""
    fill(records)
    total, studies = records.worklist.page()
    assert total == 40
    assert [study.rank for study in studies] == list(range(1, 41))
    assert studies == sorted(studies, key=sort_key)

    pages = [records.worklist.page(limit=15, offset=offset)[1] for offset in (0, 15, 30)]
    assert [study for page in pages for study in page] == studies
    assert records.worklist.page(offset=40) == (40, [])
    waiting = [study for study in studies if study.state is StudyState.WAITING]
    assert 4 < len(waiting) < 40
    assert records.worklist.page(state=StudyState.WAITING) == (len(waiting), waiting)
    assert records.worklist.page(state=StudyState.WAITING, limit=2, offset=1) == (len(waiting), waiting[1:3])
    assert records.worklist.page(state=StudyState.FAILED) == (0, [])
    for study in studies[::7]:
        assert records.study(study.study_instance_uid) == study


def test_places_are_counted_against_arrival(records: Records) -> None:
    """How far a study moved up is said where it has a reason, and equals what sorting by arrival gives."""
    fill(records)
    studies = records.worklist.page()[1]
    by_arrival = sorted(studies, key=lambda line: (line.received_at, line.study_instance_uid))
    moved = 0
    for line in studies:
        risen = by_arrival.index(line) + 1 - line.rank
        said = f"Up {risen} place" in line.reason
        is_flagged = line.queue_at < line.received_at or line.order_priority is OrderPriority.STAT
        assert said == (risen > 0 and is_flagged)
        moved += said
    assert moved > 5


def test_each_view_shows_its_own(records: Records) -> None:
    """Unread, being read, read (the last one first), priors and all: each with its count."""
    for number in range(5):
        records.ingest(received(f"1.{number}", at=NOON + number * SECOND))
    records.ingest(received("1.5", study_date="20200101", at=NOON - SECOND))
    records.readings.claim(ANN, "1.0")
    for uid in ("1.1", "1.3"):
        records.clock.forward(SECOND)
        records.readings.complete(ANN, uid)

    def seen(shown: Shown) -> list[str]:
        total, lines = records.worklist.page(shown=shown)
        assert total == len(lines)
        return [line.study_instance_uid for line in lines]

    assert {shown: seen(shown) for shown in Shown} == {
        Shown.LIST: ["1.0", "1.2", "1.4"],
        Shown.UNREAD: ["1.2", "1.4"],
        Shown.READING: ["1.0"],
        Shown.READ: ["1.3", "1.1"],
        Shown.PRIOR: ["1.5"],
        Shown.ALL: ["1.0", "1.2", "1.4", "1.5", "1.1", "1.3"],
    }
    ranks = {line.study_instance_uid: line.rank for line in records.worklist.page(shown=Shown.UNREAD)[1]}
    assert ranks == {"1.2": 2, "1.4": 3}


def test_what_waits_too_long_is_counted(records: Records) -> None:
    """Beyond the site's target a study is overdue, as long as it is to be read."""
    records.ingest(received("1.1"), received("1.2", at=NOON + SECOND), received("1.3", study_date="20200101"))
    records.clock.now = NOON + DAY
    assert records.worklist.counts() == ListCounts(listed=2, overdue=0, priors=1)
    records.clock.forward(timedelta(microseconds=1))
    assert records.worklist.counts() == ListCounts(listed=2, overdue=1, priors=1)
    assert [line.is_overdue for line in records.worklist.page()[1]] == [True, False]
    assert not records.study("1.3").is_overdue
    records.readings.complete(ANN, "1.1")
    assert not records.study("1.1").is_overdue
    assert records.worklist.counts() == ListCounts(listed=1, overdue=0, priors=1)


def test_results_and_crops_are_those_of_the_current_revision(records: Records) -> None:
    """Series are named once each, documents first; crops count from 1, and a picture beside them is none."""
    records.ingest(received(), stable=[STUDY])
    records.score(score=0.9)
    crops = [replace(result(5), position=1), replace(result(5), position=2, sop_instance_uid="1.2.3.9.5.2")]
    overview = replace(result(5), sop_instance_uid="1.2.3.9.5.3")
    records.report(*crops, overview, result(9))
    study = records.study()
    assert study.result_series_uids == (result(9).series_instance_uid, result(5).series_instance_uid)
    assert study.crop_count == 2
    assert records.worklist.crop(STUDY, 2) == (STUDY, result(5).series_instance_uid, "1.2.3.9.5.2")
    assert records.worklist.crop(STUDY, 3) is None
    assert records.worklist.crop("1.2.999", 1) is None
    records.ingest(received(image="2"), stable=[STUDY])
    assert records.study().crop_count == 2  # until the next report is written
    records.score(score=0.9)
    records.report(result(11))
    assert records.study().crop_count == 0
    assert records.worklist.crop(STUDY, 1) is None


def test_moments_survive_exactly(records: Records) -> None:
    """To the microsecond, and whatever time zone they came in."""
    at = datetime(2026, 3, 29, 2, 30, 0, 123457, tzinfo=timezone(timedelta(hours=9)))
    records.clock.now = at + SECOND
    records.ingest(received(at=at, study_date=""))
    study = records.study()
    assert (study.received_at, study.queue_at, study.updated_at) == (at, at, at + SECOND)
    assert study.received_at.utcoffset() == timedelta(0)


# ---- In every locale ----


@pytest.fixture
def in_order_of_words(postgres_server: PostgresServer, clock: Clock, make_analysis: MakeAnalysis) -> Iterator[Records]:
    """The records of a PostgreSQL database whose own order is that of a language, not of bytes."""
    try:
        name = postgres_server.create_database("LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    except psycopg.Error as error:
        pytest.skip(f"this PostgreSQL offers no order of words: {error}")
    with closing(Database(postgres_server.url(name), clock)) as database:
        migrations.upgrade(database)
        yield Records(database=database, clock=clock, make_analysis=make_analysis)
    postgres_server.drop_database(name)


def test_the_order_is_by_bytes_in_every_locale(in_order_of_words: Records) -> None:
    """Where all else is equal, studies stand as on every other database, and pages agree with ranks."""
    records = in_order_of_words
    uids = ["1.10", "1.2", "1.1.5", "1-2", "1.A", "1.a", "1.B"]
    with records.database.read() as session:
        assert session.scalar(text("SELECT 'a' < 'B'"))  # unlike in bytes
    records.ingest(*(received(uid) for uid in uids))
    assert records.listed() == sorted(uids)
    assert [records.study(uid).rank for uid in sorted(uids)] == list(range(1, 8))


# ---- At any size ----


@pytest.fixture
def explain(records: Records) -> Iterator[Callable[[], list[str]]]:
    """Gives what SQLite plans for each statement since it was last asked."""
    if not records.database.is_sqlite:
        pytest.skip("PostgreSQL plans small tables without indexes; bench/lists.py measures both")
    seen: list[tuple[str, object]] = []

    def hear(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        seen.append((statement, parameters))

    def plans() -> list[str]:
        statements, seen[:] = list(seen), []
        with records.database.engine.connect() as connection:
            found = [
                str(row[3])
                for statement, parameters in statements
                if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE"))
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            ]
        seen.clear()
        return found

    listen(records.database.engine, "before_cursor_execute", hear)
    yield plans
    remove(records.database.engine, "before_cursor_execute", hear)


def test_a_page_of_any_length_is_few_questions(records: Records) -> None:
    """However many lines it has: each question is a way to the database and back, which is what a list costs."""
    fill(records)
    asked: list[str] = []

    def hear(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(statement)

    def questions(ask: Callable[[], object]) -> int:
        ask()  # policies are known from then on
        asked.clear()
        ask()
        return sum(statement.startswith("SELECT") for statement in asked)

    listen(records.database.engine, "before_cursor_execute", hear)
    try:
        numbers = [questions(lambda limit=limit: records.worklist.page(limit=limit)) for limit in (20, 40)]  # type: ignore[misc]
        assert numbers[0] == numbers[1] <= 7
        assert questions(lambda: records.worklist.find("1.5")) <= 8
    finally:
        remove(records.database.engine, "before_cursor_execute", hear)


def test_nothing_scans_what_is_done(records: Records, explain: Callable[[], list[str]]) -> None:
    """Each question about the list, and each step on it, reads by an index over what it is about."""
    fill(records, 12)
    records.readings.complete(ANN, "1.3")
    records.ingest(received("1.99", study_date="20200101"))
    explain()
    questions: dict[str, Callable[[], object]] = {
        "page": records.worklist.page,
        "page of a state": lambda: records.worklist.page(state=StudyState.WAITING),
        "unread": lambda: records.worklist.page(shown=Shown.UNREAD),
        "read": lambda: records.worklist.page(shown=Shown.READ),
        "priors": lambda: records.worklist.page(shown=Shown.PRIOR),
        "find": lambda: records.worklist.find("1.5"),
        "counts": records.worklist.counts,
        "newest": records.worklist.newest,
        "changed_after": lambda: records.worklist.changed_after(records.worklist.newest() - 3),
        "crop": lambda: records.worklist.crop("1.5", 1),
        "image": lambda: records.worklist.image("1.5", 1),
        "priors of a study": lambda: records.worklist.priors("1.5"),
        "due": lambda: records.jobs.due(50),
        "sweep": records.jobs.sweep,
        "count_open": records.jobs.count_open,
        "complete_quiet": records.intake.complete_quiet,
        "longest_unchecked": lambda: records.intake.longest_unchecked(HOUR, 30),
        "expected": lambda: records.intake.expected("o1.5"),
        "listed_of": lambda: records.intake.listed_of(["o1.5"]),
        "lapse": records.readings.lapse,
        "claim": lambda: records.readings.claim(ANN, "1.5"),
        "ingest": lambda: records.ingest(received("1.5", image="2"), stable=["1.5"]),
        "score": records.score,
    }
    for name, ask in questions.items():
        ask()
        plans = explain()
        assert plans, name
        # SCAN without an index reads the table, and by any other index everything that was ever done.
        scans = [plan for plan in plans if TABLE.match(plan) and not ABOUT_WHAT_IS_OPEN.search(plan)]
        assert not scans, (name, scans)
