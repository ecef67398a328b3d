"""The first attach to a large PACS: how soon its studies are on the list, and how soon a film that arrives meanwhile.

20,000 studies of one film each, which arrived over ten weeks, lie in Orthanc before Firstread is started for the first
time. It lists those of the last week. While it does, films of a real detector's size are stored.
"""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from bench.figures import Figure
from bench.films import simulated_films
from bench.large_pacs import fill
from firstread.demo import Site, running_site
from firstread.processes import Supervisor
from gateway.dimse.send import send
from worklist.job import Queue
from worklist.records import Database
from worklist.records.tables import JobRow, StudyRow

STUDIES, SPAN = 20_000, timedelta(weeks=10)
_WEEK = timedelta(days=7)
_PORT_BASE = 18920
_NEW, _EVERY_S = 10, 4.0
_ASK_EVERY_S, _PATIENCE_S = 0.05, 1800.0


@dataclass
class _Watch:
    """When studies were listed and scored, by the machine's clock."""

    database: Database
    wanted: int
    first_at: float = 0.0
    all_at: float = 0.0
    listed_at: dict[str, float] = field(default_factory=dict)
    scored_at: dict[str, float] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    scored: int = 0

    def look(self) -> None:
        """Look once."""
        try:
            with self.database.read() as session:
                count = session.scalar(select(func.count()).select_from(StudyRow)) or 0
                found = dict(
                    session.execute(
                        select(StudyRow.study_instance_uid, JobRow.finished_at)
                        .outerjoin(JobRow, JobRow.study_orthanc_id == StudyRow.orthanc_id)
                        .where(StudyRow.study_instance_uid.in_(self.new), JobRow.queue == Queue.SCORE)
                    ).all()
                )
        except SQLAlchemyError:
            return  # the tables are not there yet
        now = time.time()
        if count and not self.first_at:
            self.first_at = now
        if count - len(found) >= self.wanted and not self.all_at:
            self.all_at = now
        for uid, finished_at in found.items():
            self.listed_at.setdefault(uid, now)
            if finished_at:
                self.scored_at.setdefault(uid, now)


def measure_attach() -> list[Figure]:
    """The figures."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(state=Path(folder), port_base=_PORT_BASE)
        fill(site, STUDIES, SPAN)
        with running_site(site) as supervisor, closing(Database(site.database_url)) as database:
            return _watch(site, supervisor, database)


def _watch(site: Site, supervisor: Supervisor, database: Database) -> list[Figure]:
    gateway, orthanc = (psutil.Process(supervisor.pid(name)) for name in ("gateway", "orthanc"))
    started_at = gateway.create_time()
    of_last_week = int(STUDIES * (_WEEK / SPAN)) - 1  # the edge moves while it is looked back
    watch = _Watch(database, of_last_week)
    stored_at: dict[str, float] = {}
    spent: dict[str, float] = {}

    def store() -> None:
        for film in simulated_films(_NEW):
            watch.new.add(str(film.StudyInstanceUID))
            if send([film], host="127.0.0.1", port=site.orthanc_dicom_port, called_aet="ORTHANC").failed:
                raise SystemExit("a film was not stored")
            stored_at[str(film.StudyInstanceUID)] = time.time()
            time.sleep(_EVERY_S)

    sender = threading.Thread(target=store)
    sender.start()
    deadline = time.monotonic() + _PATIENCE_S
    while sender.is_alive() or not watch.all_at or len(watch.scored_at) < _NEW:
        if time.monotonic() > deadline:
            raise SystemExit(f"not all is listed after {_PATIENCE_S:.0f} s")
        watch.look()
        if watch.all_at and not spent:
            spent = {name: sum(one.cpu_times()[:2]) for name, one in (("gateway", gateway), ("Orthanc", orthanc))}
        time.sleep(_ASK_EVERY_S)
    to_list = [watch.listed_at[uid] - stored for uid, stored in stored_at.items()]
    to_score = [watch.scored_at[uid] - stored for uid, stored in stored_at.items()]
    name = f"{STUDIES:,} studies"
    return [
        Figure(name=f"{name}: first film listed", value=watch.first_at - started_at, unit="s", at_most=5),
        Figure(
            name=f"... all {of_last_week:,} of the last week listed",
            value=watch.all_at - started_at,
            unit="s",
            at_most=120,
        ),
        Figure(name=f"... {_NEW} new films meanwhile, listed, the slowest", value=max(to_list), unit="s", at_most=2),
        Figure(name="... scored, the slowest", value=max(to_score), unit="s"),
        *(
            Figure(name=f"... processor time until all are listed, {name}", value=seconds, unit="s")
            for name, seconds in spent.items()
        ),
    ]
