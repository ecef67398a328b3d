"""Leases: who holds the feed, and which workers live, as rows that lapse by themselves, in the database's time.

A holder that dies on this machine is noticed at once, one that vanishes with its host or hangs once its lease has run
out. Each new holder gets a higher number, which is asked again in every transaction that only the holder may make: so
one that hung and wakes up writes nothing any more.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from worklist.errors import TransientError
from worklist.job import Queue
from worklist.records.database import Database
from worklist.records.tables import LeaseRow

LENGTH: Final = timedelta(seconds=10)
_RENEW_AT: Final = LENGTH * 2 / 3  # of it left; so it is written every few seconds, not in each round
_START_TIME: Final = 19  # place of the start time in /proc/PID/stat, behind the name
EVENT_REPORTS: Final = "event reports by DIMSE"
"""The lease to send them: one process at a time does, so that nobody hears of an event twice."""
_WORKER: Final = "worker"
_CLAIM: Final = "/"  # behind the process, before what tells its claims apart
_WORKER_LIFE: Final = timedelta(seconds=35)  # a worker says three times in it that it lives


class Lease:
    """Something that one process at a time may hold.

    Args:
        database: where all processes look.
        name: of what is held.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._me = _this_process()
        self._number: int | None = None

    def hold(self) -> bool:
        """Take it, or make sure that it is still ours; False where another process has it."""
        with self._database.read() as session:
            row = session.get(LeaseRow, self._name)
            if row and self._is_mine(row) and row.until > self._database.now(session) + _RENEW_AT:
                return True
        try:
            return self._take()
        except IntegrityError:  # another process took it first, for the first time
            return False

    def release(self) -> None:
        """Let another process take it at once."""
        with self._database.write() as session:
            row = session.get(LeaseRow, self._name, with_for_update=True)
            if row and self._is_mine(row):
                row.until = self._database.now(session)
        self._number = None

    def require(self, session: Session) -> None:
        """Make sure, within a transaction, that it is still ours until its end.

        Raises:
            TransientError: lease_lost, another process has it by now.
        """
        row = session.get(LeaseRow, self._name, with_for_update=True)
        if row is None or not self._is_mine(row):
            raise TransientError("lease_lost", f"another process holds {self._name} by now: nothing was written")

    def _take(self) -> bool:
        with self._database.write() as session:
            now = self._database.now(session)
            row = session.get(LeaseRow, self._name, with_for_update=True)
            if row is None:
                row = LeaseRow(name=self._name, holder="", number=0, until=now)
                session.add(row)
            if not self._is_mine(row):
                if not _is_free(row, now):
                    return False
                row.holder, row.number = self._me, row.number + 1
                self._number = row.number
            row.until = now + LENGTH
            return True

    def _is_mine(self, row: LeaseRow) -> bool:
        return row.holder == self._me and row.number == self._number


def say_alive(session: Session, queues: tuple[Queue, ...], now: datetime) -> None:
    """A worker's process says that it lives and serves some queues."""
    ended = select(LeaseRow.name).where(LeaseRow.name.startswith(f"{_WORKER} "), LeaseRow.until < now - _WORKER_LIFE)
    # What another worker clears away, or has just taken up again, is passed over and not waited for.
    session.execute(delete(LeaseRow).where(LeaseRow.name.in_(ended.with_for_update(skip_locked=True))))
    for queue in queues:
        name = f"{_WORKER} {queue} {_this_process()}"
        session.merge(LeaseRow(name=name, holder=_this_process(), number=1, until=now + _WORKER_LIFE))


def say_ended(session: Session) -> None:
    """A worker's process takes back that it lives."""
    mine = LeaseRow.name.startswith(f"{_WORKER} "), LeaseRow.holder == _this_process()
    session.execute(delete(LeaseRow).where(*mine))


def living_workers(session: Session, now: datetime) -> dict[Queue, int]:
    """How many workers' processes serve each queue, as far as they have said lately."""
    return {
        queue: session.scalar(
            select(func.count())
            .select_from(LeaseRow)
            .where(LeaseRow.name.startswith(f"{_WORKER} {queue} "), LeaseRow.until >= now)
        )
        or 0
        for queue in Queue
    }


def name_of_a_claim() -> str:
    """What a claim to a job is held under: this process, so that its death is noticed, and no two claims alike."""
    return f"{_this_process()}{_CLAIM}{uuid4()}"


def living_processes(database: Database) -> list[str]:
    """What runs beside this process, as far as leases tell: what it is, its host and its process's number.

    A process of this machine that has ended does not count, however long its lease still runs.
    """
    with database.read() as session:
        now = database.now(session)
        rows = session.scalars(select(LeaseRow).where(LeaseRow.until > now).order_by(LeaseRow.name)).all()
    held = [row for row in rows if row.holder != _this_process() and not is_gone(row.holder)]
    # A worker has a lease for each of its queues.
    return list(
        dict.fromkeys(f"{_role(row.name)} on {row.holder.split()[0]} (process {_number(row.holder)})" for row in held)
    )


def _role(name: str) -> str:
    if name == EVENT_REPORTS:
        return "DICOM server"
    return "worker" if name.startswith(f"{_WORKER} ") else "gateway"


def _number(holder: str) -> str:
    return holder.rpartition(" ")[2].partition("-")[0]


def _is_free(row: LeaseRow, now: datetime) -> bool:
    # Further ahead than a lease is long: written before the clock was set back.
    return not now < row.until <= now + 2 * LENGTH or is_gone(row.holder)


def is_gone(holder: str) -> bool:
    """Whether a holder was a process of this machine that has ended; False where that cannot be told."""
    place, _, process = holder.partition(_CLAIM)[0].rpartition(" ")
    return place == _this_place() and process not in {_process(pid) for pid in (process.split("-")[0],) if pid}


def _this_process() -> str:
    return f"{_this_place()} {_process(str(os.getpid()))}"


def _this_place() -> str:
    # Process numbers say something within one namespace alone: a container has its own.
    return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"


def _process(pid: str) -> str:
    """Number and start time of a process, so that one that got the number later is not taken for it."""
    try:
        behind_its_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{pid}-{behind_its_name[_START_TIME]}"
