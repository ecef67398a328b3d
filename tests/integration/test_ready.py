"""GET /ready tells the truth: whether the site gets its work done, not whether connections are open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import httpx
import pytest
import redis
from sqlalchemy import text

from gateway.health import Health, Readiness
from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.intake.feed import Intake
from gateway.intake.orthanc import OrthancClient
from gateway.room import Room
from tests.hospitals import Site, film, look_until, wait_until
from tests.language_servers import scripted
from tests.proxies import proxied
from tests.servers import OrthancServer, RedisServer, free_ports, running
from worklist.errors import PACS_FULL, BrokerUnavailable, PacsUnavailable
from worklist.job import Queue
from worklist.records import Database, IntakeRecords

TOO_LONG = timedelta(seconds=61)
ROOM = Room(folders={"the database": Path(__file__)}, least_bytes=0)
FAR_TOO_MUCH = 10**18

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def site(orthanc: OrthancServer, database: Database, redis_url: str) -> Iterator[Site]:
    """A hospital with an empty Orthanc, list and broker."""
    with ExitStack() as stack:
        yield Site(orthanc, database, redis_url, stack)


def worker_lives(site: Site) -> None:
    """A worker says that it serves both queues."""
    site.jobs.say_alive((Queue.SCORE, Queue.REPORT))


def health_of(
    site: Site,
    intake: Intake,
    *,
    orthanc_url: str = "",
    room: Room = ROOM,
    explainer_url: str = "",
) -> Health:
    """The health of the gateway that an intake belongs to."""
    return Health(
        version="1",
        database=site.database,
        records=IntakeRecords(site.database, site.rules),
        jobs=site.jobs,
        dispatcher=Dispatcher(site.jobs, build_sender(site.redis_url)),
        orthanc=site.gateways.enter_context(closing(OrthancClient(orthanc_url or site.orthanc.url, auth=None))),
        intake=intake,
        room=room,
        explainer_url=explainer_url,
    )


def test_a_site_that_works_is_ready(site: Site) -> None:
    """Also while the work of a burst waits its turn, as long as somebody is at work."""
    intake = site.intake()
    health = health_of(site, intake)
    intake.look()
    worker_lives(site)
    assert health.readiness().ready
    site.send(film(), film())
    intake.look()
    job_id = site.jobs_due(Queue.SCORE)[0]
    site.ahead = TOO_LONG
    worker_lives(site)
    assert site.jobs.claim(job_id, "w")
    ready = health.readiness()
    assert (ready.ready, ready.open_jobs) == (True, 2)
    assert {name: check.detail for name, check in ready.checks.items()}["database"] == "postgresql"


def test_work_that_nobody_takes_is_told(site: Site) -> None:
    """Also where workers live, but hear nothing from their broker."""
    intake = site.intake()
    health = health_of(site, intake)
    worker_lives(site)
    site.send(film())
    intake.look()
    assert health.readiness().ready
    site.ahead = TOO_LONG
    worker_lives(site)
    ready = health.readiness()
    assert not ready.ready
    assert ready.oldest_job_s is not None
    assert ready.oldest_job_s > 60
    assert ready.checks["work"].detail.startswith("nobody takes work of the queue score for ")
    site.work()
    assert health.readiness().ready


def test_a_broker_without_room_is_told_at_once(site: Site, redis_server: RedisServer) -> None:
    """It answers, but takes nothing, whether or not there is work; once it takes it, all is well."""
    intake = site.intake()
    worker_lives(site)
    dispatcher = Dispatcher(site.jobs, build_sender(site.redis_url))
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory", "1")
        try:
            site.send(film())
            look_until(intake, lambda: site.jobs.count_open() == 1)
            with pytest.raises(BrokerUnavailable):
                dispatcher.run()
            refused = health_of(site, intake).readiness().checks["broker"]
        finally:
            client.config_set("maxmemory", "0")
    assert not refused.ok
    assert refused.detail.startswith("the broker has no room for a message: raise maxmemory in Redis")
    assert dispatcher.run() == 1
    assert health_of(site, intake).readiness().checks["broker"].ok


def test_an_absent_broker_is_told_and_not_as_a_feed_that_is_not_read(site: Site, redis_server: RedisServer) -> None:
    """Whoever asks first, /ready or the intake, which lists films all the while."""
    intake = site.intake()
    health = health_of(site, intake)
    worker_lives(site)
    redis_server.stop()
    try:
        for _ in range(2):
            site.send(film())
            intake.look()
            checks = health.readiness().checks
            assert {name for name, check in checks.items() if not check.ok} == {"broker"}
    finally:
        redis_server.start()
    look_until(intake, lambda: len(site.jobs_due(Queue.SCORE)) == 2)


def test_a_site_without_workers_is_not_ready(site: Site) -> None:
    """Of each queue one must live, also while no work waits: the first film of the night would."""
    intake = site.intake()
    intake.look()
    health = health_of(site, intake)
    assert health.readiness().checks["work"].detail.startswith("no worker of the queue score and report is alive")
    site.jobs.say_alive((Queue.SCORE,))
    assert health.readiness().checks["work"].detail.startswith("no worker of the queue report is alive")
    site.jobs.say_alive((Queue.REPORT,))
    assert health.readiness().ready
    site.ahead = TOO_LONG
    assert not health.readiness().ready


@pytest.mark.usefixtures("long_leases")
def test_a_holder_that_hangs_is_told_by_those_that_stand_by(site: Site) -> None:
    """Whoever holds the feed and does not read it: no gateway says that all is well."""
    holder, other = site.intake(), site.intake()
    holder.look()
    other.look()
    worker_lives(site)
    health = health_of(site, other)
    assert health.readiness().checks["feed"].detail.endswith("another gateway reads it, this one stands by")
    site.ahead = TOO_LONG
    ready = health.readiness()
    assert not ready.ready
    told = re.search(r"another gateway holds it and has not read it for (\d+) s", ready.checks["feed"].detail)
    assert told
    assert int(told[1]) >= 61


def test_a_database_that_takes_no_write_is_told(site: Site) -> None:
    """A full disk still reads, and loses films all the same."""
    intake = site.intake()
    intake.look()
    worker_lives(site)
    health = health_of(site, intake)
    with site.database.write() as session:
        session.execute(
            text(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END$$"
            )
        )
        session.execute(text("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON feeds EXECUTE FUNCTION full_disk()"))
    try:
        ready = health.readiness()
    finally:
        with site.database.write() as session:
            session.execute(text("DROP FUNCTION full_disk CASCADE"))
    assert not ready.ready
    assert ready.checks["database"].detail.startswith("cannot be written")
    wait_until(lambda: health.readiness().ready)


def test_a_database_that_goes_away_in_the_middle_is_told(site: Site) -> None:
    """What was asked of it before still stands in the answer, and no check is left out without a word."""
    intake = site.intake()
    intake.look()
    worker_lives(site)
    health = health_of(site, intake)
    with site.database.write() as session:
        session.execute(text("ALTER TABLE jobs RENAME TO jobs_gone"))
    try:
        ready = health.readiness()
    finally:
        with site.database.write() as session:
            session.execute(text("ALTER TABLE jobs_gone RENAME TO jobs"))
    assert not ready.ready
    assert ready.checks["database"].detail.startswith("cannot be read (ProgrammingError)")
    assert (ready.checks["broker"].ok, ready.checks["feed"].ok, "work" in ready.checks) == (True, False, False)


def test_many_who_ask_cost_one_question(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty pages that ask at one moment while Orthanc is slow ask it once together, and all get an answer."""
    asked: list[str] = []
    others = Barrier(30)
    monkeypatch.setattr("gateway.health.time", SimpleNamespace(monotonic=lambda: 0.0))

    def note(request: str, answer: httpx.Response) -> httpx.Response:
        asked.append(request)
        return answer

    def ask(_: int) -> Readiness:
        others.wait(60)
        return health.readiness()

    intake = site.intake()
    intake.look()
    worker_lives(site)
    with proxied(site.orthanc.url, note) as url, ThreadPoolExecutor(30) as pages:
        health = health_of(site, intake, orthanc_url=url)
        answers = list(pages.map(ask, range(30)))
    assert [answer.checks for answer in answers if not answer.ready] == []
    assert asked.count("GET /system") == 1


def test_disks_that_fill_up_are_told(site: Site, tmp_path: Path) -> None:
    """Ours by what lies on them, and Orthanc's own, before nothing can be kept any more; the line says what to do."""
    intake = site.intake()
    intake.look()
    worker_lives(site)
    folders = {"the database": tmp_path, "uploads": tmp_path / "not" / "made" / "yet"}
    checks = health_of(site, intake, room=Room(folders=folders, least_bytes=1)).readiness().checks
    assert checks["disk"].ok
    assert checks["disk"].detail.endswith(f"free under the database ({tmp_path}) and uploads ({folders['uploads']})")
    assert checks["pacs_disk"].ok
    assert checks["pacs_disk"].detail.endswith("GB free on Orthanc's disk")
    ready = health_of(site, intake, room=Room(folders=folders, least_bytes=FAR_TOO_MUCH)).readiness()
    assert not ready.ready
    assert {name for name, check in ready.checks.items() if not check.ok} == {"disk", "pacs_disk"}
    assert "FIRSTREAD_LEAST_FREE_MB=1000000000000" in ready.checks["disk"].detail
    assert "FIRSTREAD_LEAST_FREE_MB=1000000000000" in ready.checks["pacs_disk"].detail


def test_a_pacs_at_its_own_limit_is_told(site: Site, tmp_path: Path) -> None:
    """Orthanc that is about to delete its oldest patients to make room says nothing by itself."""
    with running(OrthancServer(tmp_path, configuration={"MaximumStorageSize": 1})) as orthanc:
        site.orthanc = orthanc
        intake = site.intake()
        intake.look()
        worker_lives(site)
        health = health_of(site, intake)
        assert health.readiness().ready
        site.send(film(Rows=1020, Columns=1000, PixelData=bytes(1_020_000)))
        told = health_of(site, intake).readiness().checks["pacs_disk"]
    assert not told.ok
    assert told.detail.endswith("at the limit it deletes its oldest patients: raise MaximumStorageSize")


def test_results_that_a_full_pacs_does_not_take_are_told(site: Site) -> None:
    """As long as they are tried again; another reason is mentioned, since it may be one study's, and fails no site."""
    intake = site.intake()
    intake.look()
    site.send(film())
    look_until(intake, lambda: bool(site.jobs_due(Queue.SCORE)))
    health = health_of(site, intake)

    def fail(error: PacsUnavailable) -> Readiness:
        site.ahead += TOO_LONG
        job_id = site.jobs_due(Queue.SCORE)[0]
        site.jobs.claim(job_id, "w")
        site.jobs.give_up(job_id, "w", error)
        worker_lives(site)
        intake.look()
        return health.readiness()

    ready = fail(PacsUnavailable("pacs_error", "Orthanc answers 500: see its log"))
    assert ready.checks["work"].detail.endswith("1 job is tried again: Orthanc answers 500: see its log")
    assert ready.checks["work"].ok
    ready = fail(PacsUnavailable(PACS_FULL, "the PACS seems to be full: free its disk"))
    assert "tried again: the PACS seems to be full: free its disk" in ready.checks["work"].detail
    assert not ready.checks["work"].ok
    site.ahead += TOO_LONG
    site.work(Queue.SCORE)
    assert "tried again" not in health.readiness().checks["work"].detail


def test_a_doorbell_with_another_secret_is_told(site: Site) -> None:
    """Films come all the same, a little later; the line says what to set."""
    intake = site.intake()
    intake.look()
    health = health_of(site, intake)
    intake.refuse_ring()
    assert (
        health.readiness()
        .checks["feed"]
        .detail.endswith("FIRSTREAD_DOORBELL_SECRET is to be the same for the gateway and for Orthanc")
    )
    intake.ring()
    assert re.search(r"doorbell rang \d+ s ago", health.readiness().checks["feed"].detail)


def test_a_language_server_that_is_away_is_told_and_stops_nothing(site: Site) -> None:
    """Reports are written without it, so the site is ready; it says who explains until it is back."""
    intake = site.intake()
    intake.look()
    worker_lives(site)
    away = health_of(site, intake, explainer_url=f"http://127.0.0.1:{free_ports(1)[0]}").readiness()
    assert away.ready
    assert away.checks["explainer"].detail.endswith(
        "does not answer (ConnectError): the template explains until it does"
    )
    with scripted("") as server:
        there = health_of(site, intake, explainer_url=server.url).readiness()
    assert there.checks["explainer"].detail == f"{server.url} answers"
    assert "explainer" not in health_of(site, intake).readiness().checks
