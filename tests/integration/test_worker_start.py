"""How the process in which a worker does its work begins, and begins again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

import migrations
from firstread.processes import Program, Supervisor, wait_until_ready
from tests.relays import Manner, Relay
from worklist.records import Database
from worklist.records.leases import living_processes
from worklist.records.tables import LeaseRow

_PATIENCE_S = 300.0


@pytest.fixture
def to_postgres(postgres_url: str) -> Iterator[Relay]:
    """How the worker reaches its database."""
    relay = Relay(int(postgres_url.rpartition(":")[2].partition("/")[0]))
    yield relay
    relay.close()


def test_a_process_that_begins_while_the_database_is_away_lives_once_it_is_back(
    postgres_url: str, redis_url: str, to_postgres: Relay, tmp_path: Path
) -> None:
    """Else /ready would say for ever that nobody works, and the first film would load the model.

    One that is asked to end takes back at once that it lives: a restore need not wait for it.
    With FIRSTREAD_LOG_JSON each line of all that is one of JSON, Celery's word on the lost process among them.
    """
    log = tmp_path / "worker.log"
    root, _, name = postgres_url.rpartition("/")
    environment = {
        "FIRSTREAD_DATABASE_URL": f"{root.rpartition(':')[0]}:{to_postgres.port}/{name}",
        "FIRSTREAD_BROKER_URL": redis_url,
        "FIRSTREAD_LOG_JSON": "true",
    }
    command = [sys.executable, "-m", "firstread", "worker", "--queues", "report"]
    supervisor = Supervisor()
    with closing(Database(postgres_url)) as database:
        migrations.upgrade(database)

        def lives(process: psutil.Process) -> bool:
            return any(f"(process {process.pid})" in one for one in living_processes(database))

        try:
            supervisor.start(Program(name="worker", command=command, environment=environment, log=log))
            worker = psutil.Process(supervisor.pid("worker"))
            wait_until_ready("the worker", lambda: any(map(lives, worker.children())), log, _PATIENCE_S)
            to_postgres.manner = Manner(cuts_after=0)
            to_postgres.cut()
            worker.children()[0].kill()
            wait_until_ready("the wait", lambda: "waits for the database" in log.read_text(), log, _PATIENCE_S)
            to_postgres.manner = Manner()
            wait_until_ready("the next process", lambda: any(map(lives, worker.children())), log, _PATIENCE_S)
            (last,) = worker.children()
            worker.terminate()
            wait_until_ready("the end", lambda: not last.is_running(), log, _PATIENCE_S)
            with database.read() as session:
                said = session.scalars(select(LeaseRow.name)).all()
            assert not [name for name in said if f" {last.pid}-" in name], "it is gone, and said so"
        finally:
            supervisor.stop()
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {"waits for the database" in line["event"] for line in lines} == {True, False}
    assert "multiprocessing" in {line.get("logger") for line in lines}
