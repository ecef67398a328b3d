"""Disks that are full, and a broker without room."""

from __future__ import annotations

import redis

from tests.faults.fault import Moment, fault
from tests.faults.hospital import Plan


@fault("Orthanc's disk is full for 20 s", plan=Plan(small_disk=("orthanc", 400)), is_quick=True)
def orthanc_disk_full(moment: Moment) -> None:
    """Films are refused; reports are answered as if they were stored."""
    _fill(moment)


@fault("SQLite's disk is full for 20 s", plan=Plan(small_disk=("database", 64)), tells=("database",), is_quick=True)
def sqlite_disk_full(moment: Moment) -> None:
    """Nothing can be written down."""
    _fill(moment)


@fault(
    "PostgreSQL's disk is full for 20 s",
    plan=Plan(small_disk=("database", 256)),
    databases=("postgresql",),
    tells=("database", "feed"),
)
def postgres_disk_full(moment: Moment) -> None:
    """It ends itself where it cannot write its log, and whoever supervises it starts it again."""
    _fill(moment)
    postgres = moment.hospital.postgres
    if postgres and not postgres.is_running:
        postgres.kill_and_start()


@fault("the disk of the logs is full for 20 s", plan=Plan(small_disk=("logs", 4)))
def logs_disk_full(moment: Moment) -> None:
    """Of gateway and workers; what they have to say is lost, and nothing else."""
    _fill(moment)


@fault("Redis has no room for 20 s", tells=("broker",), tells_within_s=10)
def redis_full(moment: Moment) -> None:
    """It answers, and takes no message."""
    with redis.Redis.from_url(moment.hospital.redis.url) as client:
        client.config_set("maxmemory", "1")
        moment.last(20)
        client.config_set("maxmemory", "0")


def _fill(moment: Moment) -> None:
    disk = moment.hospital.disk
    assert disk
    disk.fill()
    moment.last(20)
    disk.free()
