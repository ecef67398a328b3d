"""Programs that die, hang, or are missing, and machines whose clock is set."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from datetime import timedelta

import psutil

from tests.faults.fault import BOTH, Moment, fault
from tests.faults.hospital import Plan

_RELIABLE = Plan(gateways=2, workers=2)
_TAKEN_OVER_S = 300.0
_LOADING_S = 6.0  # above the 4 s after which Celery by itself takes a process that loads its model for dead


@fault(
    "kill -9 of each program, twice, at random moments: gateway, workers, their children, Redis, Orthanc, the database",
    databases=BOTH,
    seeds=20,
    is_quick=True,
)
def everything_dies(moment: Moment) -> None:
    """Each victim, in an order and with pauses that the seed decides."""
    hospital, choice = moment.hospital, moment.random
    servers = {"redis": hospital.redis, "orthanc": hospital.orthanc, "database": hospital.postgres}
    victims = [*hospital.programs, "child of score-0", "child of report-0", *servers] * moment.count(2)
    choice.shuffle(victims)
    for victim in victims:
        time.sleep(choice.uniform(0.1, 1.5))
        server = servers.get(victim)
        if server:
            server.kill_and_start()
        elif victim.startswith("child of "):
            hospital.kill_child(victim.removeprefix("child of "))
        elif victim in hospital.programs:
            hospital.kill(victim)


@fault("the same with two gateways and four workers", plan=_RELIABLE, databases=BOTH, seeds=2)
def everything_dies_of_many(moment: Moment) -> None:
    """Each victim, once or twice."""
    everything_dies(moment)


@fault("Redis stands still for 40 s", tells=("broker",), recovers_within_s=30)
def redis_hangs(moment: Moment) -> None:
    """It takes connections, and says nothing."""
    moment.hospital.redis.freeze()
    moment.last(40)
    moment.hospital.redis.resume()


@fault("PostgreSQL stands still for 30 s", databases=("postgresql",), tells=("answer",))
def postgres_hangs(moment: Moment) -> None:
    """All of its processes."""
    assert moment.hospital.postgres
    moment.hospital.postgres.freeze()
    moment.last(30)
    moment.hospital.postgres.resume()


@fault("Orthanc stands still for a minute", tells=("orthanc",))
def orthanc_hangs(moment: Moment) -> None:
    """It takes connections, and says nothing."""
    moment.hospital.orthanc.freeze()
    moment.last(60)
    moment.hospital.orthanc.resume()


@fault("Orthanc is killed four times", tells=())
def orthanc_dies(moment: Moment) -> None:
    """It comes back each time."""
    for _ in range(moment.count(4)):
        moment.hospital.orthanc.kill_and_start()
        moment.last(3)


@fault("a worker of each queue stands still for 40 s with work in its hands, another takes it", plan=Plan(workers=2))
def workers_hang(moment: Moment) -> None:
    """What they still hold when they wake up is fenced off."""
    hospital = moment.hospital
    hospital.stream.send_at_once(moment.count(10))
    for name in ("score-0", "report-0"):
        hospital.freeze(name)
    moment.last(40)
    for name in ("score-0", "report-0"):
        hospital.resume(name)


@fault("no worker for 70 s", plan=Plan(starts_workers=False), tells=("work",))
def nobody_works(moment: Moment) -> None:
    """Neither of them is started."""
    moment.last(70)
    moment.hospital.start_workers()


@fault(
    "the gateway that reads the feed stands still for 75 s, another stands by",
    plan=Plan(gateways=2),
    databases=BOTH,
)
def feed_holder_hangs(moment: Moment) -> None:
    """The other takes over once the lease has lapsed; what the first one holds in its hands is fenced off."""
    moment.hospital.freeze("gateway-0")
    moment.last(75)
    moment.require_final(_TAKEN_OVER_S)
    moment.hospital.resume("gateway-0")


@fault(
    "the machine of the gateway that reads the feed vanishes: PostgreSQL never hears of it",
    plan=_RELIABLE,
    databases=("postgresql",),
    is_quick=True,
)
def feed_holder_vanishes(moment: Moment) -> None:
    """Its connections stay open at the database's side; nothing starts it again for a while."""
    hospital = moment.hospital
    hospital.to_postgres[0].go_silent()
    hospital.freeze("gateway-0")
    moment.last(30)
    moment.require_final(_TAKEN_OVER_S)
    hospital.kill("gateway-0")


@fault("a model that loads for six seconds, and its process dies twice", seeds=2)
def slow_model_dies(moment: Moment) -> None:
    """Whatever takes long, the child that is to take the dead one's place is not up in time."""
    for _ in range(2):
        old = moment.hospital.child("score-0")
        old.kill()
        new = moment.hospital.child("score-0", other_than=old.pid)
        with suppress(psutil.NoSuchProcess):
            new.send_signal(signal.SIGSTOP)
            time.sleep(_LOADING_S)
            new.send_signal(signal.SIGCONT)
        moment.last(2)


@fault("the clock of the machine is set back by 20 minutes", plan=Plan(has_clock=True), databases=BOTH)
def clock_goes_back(moment: Moment) -> None:
    """Gateway, workers, SQLite and Orthanc share it; PostgreSQL is another machine."""
    assert moment.hospital.clock
    moment.hospital.clock.set(timedelta(minutes=-20))
    moment.last(10)


@fault("the clock of the machine goes ahead by two hours, and is set right again", plan=Plan(has_clock=True))
def clock_goes_ahead(moment: Moment) -> None:
    """As where a time server is wrong for a while."""
    assert moment.hospital.clock
    moment.hospital.clock.set(timedelta(hours=2))
    moment.last(15)
    moment.hospital.clock.set(timedelta(0))


@fault(
    "the database's host is 16 s behind gateway and workers",
    plan=Plan(has_clock=True, workers=2),
    databases=("postgresql",),
)
def clocks_apart(moment: Moment) -> None:
    """No host's own clock counts, so nothing waits."""
    assert moment.hospital.clock
    moment.hospital.clock.set(timedelta(seconds=16))
    moment.last(15)
