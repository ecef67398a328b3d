"""Load on a running site: open pages, films whose wait for a score is measured, and the memory of the programs."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import httpx
import psutil
from sqlalchemy import select

from bench.films import simulated_films
from firstread.demo import Site
from firstread.processes import Supervisor
from gateway.dimse.send import Outcome, send
from worklist.records import Database
from worklist.records.tables import StudyRow

_MOST_FILMS = 1_000_000  # made one by one, when their turn comes
_LIST_EVERY_S = 60.0  # as a page asks for it
_AGAIN_S = 1.0
_LOOK_EVERY_S, _WEIGH_EVERY_S = 0.05, 5.0
_SILENT_S = 60.0  # above the pause between two signs of life of a page's events


class Readers:
    """People who have the list open: each hears the events, and asks for the list once a minute.

    Args:
        url: the gateway's root.
        count: how many.

    Attributes:
        failures: what went wrong, in words.
        heard: how many events came.
        listening: how many of them have heard one.
    """

    def __init__(self, url: str, count: int) -> None:
        self._url, self._count = url, count
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()), name="readers", daemon=True)
        self.failures: list[str] = []
        self.heard = 0
        self.listening = 0

    def __enter__(self) -> Self:
        """Open the pages."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Close them."""
        self._stopping.set()
        self._thread.join()

    async def _read(self) -> None:
        limits = httpx.Limits(max_connections=2 * self._count)
        async with httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=_SILENT_S, limits=limits) as http:
            tasks = [asyncio.create_task(work(http, n)) for n in range(self._count) for work in (self._hear, self._ask)]
            await asyncio.to_thread(self._stopping.wait)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self, http: httpx.AsyncClient, number: int) -> None:
        has_heard = False
        while True:
            try:
                async with http.stream("GET", "/worklist/events") as answer:
                    answer.raise_for_status()
                    async for line in answer.aiter_lines():
                        if line.startswith("data:"):
                            self.heard += 1
                            self.listening += not has_heard
                            has_heard = True
                self.failures.append(f"reader {number}: the events ended")
            except httpx.HTTPError as error:
                self.failures.append(f"reader {number}: no events ({error!r})")
            await asyncio.sleep(_AGAIN_S)

    async def _ask(self, http: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(_LIST_EVERY_S * number / self._count)
        while True:
            try:
                (await http.get("/worklist", params={"limit": 100})).raise_for_status()
            except httpx.HTTPError as error:
                self.failures.append(f"reader {number}: no list ({error!r})")
            await asyncio.sleep(_LIST_EVERY_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """One film's: when its C-STORE ended, by the monotonic clock, and how long it then had no score."""

    stored_at: float
    lasted_s: float


class Arrivals:
    """Sends films to a site, and sees in its records when each has its score.

    Args:
        site: a running one.
        database: its.

    Attributes:
        waits: of the films that have theirs.
    """

    def __init__(self, site: Site, database: Database) -> None:
        self._site, self._database = site, database
        self._films = simulated_films(_MOST_FILMS)
        self._stored_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="arrivals", daemon=True)
        self.waits: list[Wait] = []

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many films have no score yet."""
        return len(self._stored_at)

    def send(self, count: int) -> None:
        """Store so many films over one association; all must be taken.

        Raises:
            RuntimeError: one was not.
        """
        ready = list(islice(self._films, count))
        studies = {str(film.SOPInstanceUID): str(film.StudyInstanceUID) for film in ready}

        def stored(outcome: Outcome, _: int) -> None:
            with self._lock:
                self._stored_at[studies[outcome.name]] = time.monotonic()

        port = self._site.orthanc_dicom_port
        result = send(ready, host="127.0.0.1", port=port, called_aet="ORTHANC", on_progress=stored)
        if result.failed:
            raise RuntimeError(f"not stored: {result.failed[0].reason}")

    def _look(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            with self._lock:
                waiting = list(self._stored_at)
            if not waiting:
                continue
            query = select(StudyRow.study_instance_uid).where(
                StudyRow.study_instance_uid.in_(waiting), StudyRow.score.is_not(None)
            )
            with self._database.read() as session:
                scored = session.scalars(query).all()
            now = time.monotonic()
            with self._lock:
                for uid in scored:
                    stored_at = self._stored_at.pop(uid)
                    self.waits.append(Wait(stored_at=stored_at, lasted_s=now - stored_at))


class Memory:
    """Memory of programs (PSS, children included), weighed every few seconds for the time of a block.

    Args:
        supervisor: runs them.
        names: theirs.
    """

    def __init__(self, supervisor: Supervisor, names: Sequence[str]) -> None:
        self._supervisor, self._names = supervisor, names
        self._weights: list[dict[str, float]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._weigh, name="memory", daemon=True)

    def __enter__(self) -> Self:
        """Begin to weigh."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Weigh no more."""
        self._stopping.set()
        self._thread.join()

    def growth(self, warm_share: float) -> dict[str, tuple[float, float]]:
        """Of each program, MB in the median of a tenth of the time after the warm-up, and of the last tenth.

        Args:
            warm_share: part of the time that counts as warm-up.
        """
        tenth = max(1, len(self._weights) // 10)
        warm = self._weights[int(len(self._weights) * warm_share) :][:tenth]
        last = self._weights[-tenth:]
        return {
            name: (statistics.median(one[name] for one in warm), statistics.median(one[name] for one in last))
            for name in self._names
        }

    def peaks(self) -> dict[str, float]:
        """The most that each program took, MB."""
        return {name: max(one[name] for one in self._weights) for name in self._names}

    def _weigh(self) -> None:
        while not self._stopping.wait(_WEIGH_EVERY_S):
            self._weights.append({name: self._pss_mb(name) for name in self._names})

    def _pss_mb(self, name: str) -> float:
        main = psutil.Process(self._supervisor.pid(name))
        return float(sum(one.memory_full_info().pss for one in (main, *main.children(recursive=True)))) / 2**20


def every(period_s: float, until: Callable[[], bool]) -> Iterable[float]:
    """Moments that are so far apart, by the monotonic clock, each when it has come, until told to stop."""
    at = time.monotonic()
    while not until():
        time.sleep(max(0.0, at - time.monotonic()))
        yield at
        at += period_s
