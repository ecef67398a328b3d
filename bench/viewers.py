"""What viewers and workstations ask of a whole site: one order in every way, a film through the gateway, many at once.

The site runs as the demo starts it, with small films on its list. What is compared to a baseline is measured in turn
with it, so that both see the same machine.

Open pages and searches come from a process of its own, `python -m bench.viewers URL`, which yields the processor to
everybody: at a site, viewers are other machines.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import httpx
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]
from sqlalchemy import select

from bench.figures import Figure, percentile
from bench.films import simulated_films
from bench.large_pacs import films
from bench.load import Arrivals, Readers, every
from firstread.demo import Site, running_site, wait_until_done
from gateway.dimse.associate import associate
from gateway.dimse.send import send
from worklist.records import Database
from worklist.records.events import EventKind, record
from worklist.records.tables import ON_THE_LIST, StudyRow
from worklist.triage import Urgency

_PORT_BASE: Final = 19_080
_TITLE: Final = "BENCH"
_LISTED: Final = 150  # more than a page of QIDO-RS
_PAGE: Final = 101
_RETRIEVALS: Final = 60
_CHANGES: Final = 20
_PAGES, _REQUESTS_A_S = 200, 50.0
_ROUNDS, _FILMS_OF_A_ROUND = 6, 8
_FILM_EVERY_S: Final = 1.0
_AT_ONCE: Final = 4
_YIELDING: Final = 19  # nice
_PATIENCE_S: Final = 60.0
_OVERHEAD_PERCENT, _VISIBLE_MS, _SLOWER_PERCENT = 10, 500, 20  # targets
_FIND: Final = StudyRootQueryRetrieveInformationModelFind


def measure_viewers() -> list[Figure]:
    """The figures."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(state=Path(folder), port_base=_PORT_BASE, has_priors=False)
        with running_site(site), closing(Database(site.database_url)) as database:
            whole = next(iter(simulated_films(1)))
            if send([whole], host="127.0.0.1", port=site.orthanc_dicom_port, called_aet="ORTHANC").failed:
                raise SystemExit("the film is not stored")
            with (
                httpx.Client(base_url=site.orthanc_url, trust_env=False, timeout=60) as http,
                ThreadPoolExecutor(_AT_ONCE) as senders,
            ):
                for answer in senders.map(lambda film: http.post("/instances", content=film), films(_LISTED)):
                    answer.raise_for_status()
            wait_until_done(site, _LISTED + 1)
            return [*_retrieval(site, whole), *_visibility(site, database), *_many_at_once(site, database)]


def _retrieval(site: Site, film: Dataset) -> list[Figure]:
    path = f"/dicom-web/studies/{film.StudyInstanceUID}/series/{film.SeriesInstanceUID}/instances/{film.SOPInstanceUID}"
    roots = {"Orthanc": site.orthanc_url, "gateway": site.gateway_url}
    taken: dict[str, list[float]] = {name: [] for name in roots}
    sizes = set()
    with httpx.Client(trust_env=False, timeout=60) as http:
        for number in range(_RETRIEVALS + 2):
            for name, root in roots.items():
                started = time.perf_counter()
                accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
                body = http.get(f"{root}{path}", headers=accept).raise_for_status().content
                if number > 1:
                    taken[name].append((time.perf_counter() - started) * 1000)
                sizes.add(len(body) // 10_000)  # the boundary differs
    if len(sizes) > 1:
        raise RuntimeError("the gateway and Orthanc tell different films")
    direct, through = (statistics.median(taken[name]) for name in roots)
    overhead = (through / direct - 1) * 100
    megabytes = sizes.pop() / 100
    return [
        Figure(name=f"WADO-RS of a film of {megabytes:.0f} MB from Orthanc, p50", value=direct, unit="ms"),
        Figure(name="... through the gateway, p50", value=through, unit="ms"),
        Figure(name="... overhead", value=overhead, unit="%", at_most=_OVERHEAD_PERCENT),
    ]


# ---- A change of urgency ----


def _visibility(site: Site, database: Database) -> list[Figure]:
    known = {"AET": _TITLE, "Host": "127.0.0.1", "Port": 104}  # Orthanc answers whom it knows
    httpx.put(f"{site.orthanc_url}/modalities/bench", json=known, trust_env=False).raise_for_status()
    with (
        httpx.Client(base_url=site.gateway_url, trust_env=False, timeout=60) as http,
        _finding(site.dimse_port, "FIRSTREAD") as firstread,
        _finding(site.orthanc_dicom_port, "ORTHANC") as orthanc,
        _Page(f"{site.gateway_url}/worklist/events") as page,
    ):
        firsts: Mapping[str, Callable[[], str]] = {
            "QIDO-RS": lambda: _value(http.get("/dicom-web/studies?limit=1"), "0020000D"),
            "UPS search": lambda: _value(http.get("/dicom-web/workitems?limit=1"), "00404021", "0020000D"),
            "C-FIND of Firstread": lambda: _first(firstread),
            "C-FIND of Orthanc": lambda: _first(orthanc),
        }
        taken: dict[str, list[float]] = {"the page's event": [], **{name: [] for name in firsts}}
        for _ in range(_CHANGES):
            for name, first in firsts.items():
                page.forget()
                uid, at = _raise_the_last(database)
                while first() != uid:
                    if time.perf_counter() - at > _PATIENCE_S:
                        raise RuntimeError(f"{name} does not show the new order")
                taken[name].append((time.perf_counter() - at) * 1000)
                taken["the page's event"].append((page.heard(uid) - at) * 1000)
    named = {f"A change of urgency seen by {name}, p95": percentile(values, 95) for name, values in taken.items()}
    return [Figure(name=name, value=value, unit="ms", at_most=_VISIBLE_MS) for name, value in named.items()]


def _raise_the_last(database: Database) -> tuple[str, float]:
    """Have the last study of the list become the most urgent one; its UID, and when that was committed."""
    with database.write() as session:
        rows = session.scalars(select(StudyRow).where(ON_THE_LIST).order_by(StudyRow.queue_at)).all()
        row = rows[-1]
        row.urgency, row.queue_at = Urgency.CRITICAL, rows[0].queue_at - timedelta(seconds=1)
        record(session, EventKind.TRIAGED, row)
        uid = row.study_instance_uid
    return uid, time.perf_counter()


def _value(answer: httpx.Response, *path: str) -> str:
    """The first value of an element of the first data set, on the way through sequences."""
    held: Any = answer.raise_for_status().json()[0]
    for tag in path:
        held = held[tag]["Value"][0]
    return str(held)


@contextmanager
def _finding(port: int, title: str) -> Iterator[Association]:
    entity = AE(ae_title=_TITLE)
    entity.add_requested_context(_FIND)
    association, _ = associate(entity, "127.0.0.1", port, ae_title=title)
    if not association.is_established:
        raise RuntimeError(f"{title} takes no association")
    try:
        yield association
    finally:
        association.release()


def _first(association: Association) -> str:
    """The study that is told first; the others are heard to the end."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", ""
    found = [str(told.StudyInstanceUID) for _, told in association.send_c_find(identifier, _FIND) if told]
    return found[0]


class _Page:
    """An open page: when it heard of which study."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._heard: dict[str, float] = {}
        self._changed = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._listen, name="page", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.heard("")
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True

    def forget(self) -> None:
        """Begin anew."""
        with self._changed:
            self._heard.clear()

    def heard(self, uid: str) -> float:
        """When it heard of a study, once it has; "" for anything at all."""
        with self._changed:
            if not self._changed.wait_for(lambda: uid in self._heard, _PATIENCE_S):
                raise RuntimeError("the page does not hear of the change")
            return self._heard[uid]

    def _listen(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as http, http.stream("GET", self._url) as answer:
            for line in answer.iter_lines():
                if self._is_over:
                    return
                at = time.perf_counter()
                with self._changed:
                    self._heard.setdefault("", at)
                    _, is_item, rest = line.partition('"study_instance_uid":')
                    if is_item:
                        self._heard.setdefault(rest.split('"')[1], at)
                    self._changed.notify_all()


# ---- Many at once ----


def _many_at_once(site: Site, database: Database) -> list[Figure]:
    quiet: list[float] = []
    busy: list[float] = []
    failures: list[str] = []
    answered: list[float] = []
    with Arrivals(site, database) as arrivals:
        arrivals.send(3)
        _drain(arrivals)
        for _ in range(_ROUNDS):
            quiet += _waits(arrivals)
            with _asking(site.gateway_url) as asked:
                busy += _waits(arrivals)
            failures += asked.failures
            answered += asked.taken_ms
    slower = (statistics.median(busy) / statistics.median(quiet) - 1) * 100
    for failure in failures[:10]:
        print(failure)
    name = f"{_PAGES} pages and {_REQUESTS_A_S:g} searches a second"
    return [
        Figure(name="C-STORE to new order, nothing else asked, p50", value=statistics.median(quiet), unit="s"),
        Figure(name=f"... with {name}, p50", value=statistics.median(busy), unit="s"),
        Figure(name="... slower by", value=slower, unit="%", at_most=_SLOWER_PERCENT),
        Figure(name="Searches that were answered", value=len(answered), unit=""),
        Figure(name=f"... of {_PAGE} studies, p95", value=percentile(answered, 95), unit="ms"),
        Figure(name="... errors of pages and searches", value=len(failures), unit="", at_most=0),
    ]


def _waits(arrivals: Arrivals) -> list[float]:
    """How long each film of a round waits for its score."""
    before = len(arrivals.waits)
    for _ in islice(every(_FILM_EVERY_S, until=lambda: False), _FILMS_OF_A_ROUND):
        arrivals.send(1)
    _drain(arrivals)
    return [wait.lasted_s for wait in arrivals.waits[before:]]


def _drain(arrivals: Arrivals) -> None:
    deadline = time.monotonic() + 10 * _PATIENCE_S
    while arrivals.waiting:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{arrivals.waiting} films have no score")
        time.sleep(0.1)


@dataclass(slots=True)
class _Asked:
    """What came of pages and searches.

    Attributes:
        failures: what went wrong, in words.
        taken_ms: how long each search took.
    """

    failures: list[str] = field(default_factory=list)
    taken_ms: list[float] = field(default_factory=list)


@contextmanager
def _asking(url: str) -> Iterator[_Asked]:
    """Many ask in another process; what came of it is known after the block."""
    asked = _Asked()
    command = [sys.executable, "-m", "bench.viewers", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if not (process.stdout and process.stdout.readline()):  # which it writes once it has begun
                raise RuntimeError("the process that asks has ended")
            yield asked
        finally:
            told, _ = process.communicate()  # it asks until its standard input ends
    if process.returncode:
        raise RuntimeError("the process that asks has failed")
    asked.failures, asked.taken_ms = json.loads(told)


def _ask_until_told(url: str) -> None:
    _yield_the_processor()
    with Readers(url, _PAGES) as readers, _Viewers(url) as viewers:
        while readers.listening < _PAGES or not viewers.taken_ms:
            if readers.failures + viewers.failures:
                break
            time.sleep(0.1)
        print("begun", flush=True)
        sys.stdin.read()
    print(json.dumps([readers.failures + viewers.failures, viewers.taken_ms]))


def _yield_the_processor() -> None:
    """To everybody: where Linux shares it among sessions first, nice counts within one alone (sched(7))."""
    os.setsid()
    os.nice(_YIELDING)
    with suppress(OSError):  # it has no such groups
        Path("/proc/self/autogroup").write_text(str(_YIELDING), encoding="ascii")


class _Viewers:
    """Lists asked for at a fixed rate, whether or not the ones before are answered.

    Attributes:
        failures: what went wrong, in words.
        taken_ms: how long each answer took.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="viewers", daemon=True)
        self.failures: list[str] = []
        self.taken_ms: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()

    async def _work(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=60, limits=limits) as http:
            asked = set()
            at = time.monotonic()
            while not self._stopping.is_set():
                asked.add(asyncio.create_task(self._ask(http)))
                at += 1 / _REQUESTS_A_S
                await asyncio.sleep(max(0.0, at - time.monotonic()))
            await asyncio.gather(*asked)

    async def _ask(self, http: httpx.AsyncClient) -> None:
        started = time.perf_counter()
        try:
            (await http.get(f"/dicom-web/studies?limit={_PAGE}")).raise_for_status()
        except httpx.HTTPError as error:
            self.failures.append(f"a search: {error!r}")
        else:
            self.taken_ms.append((time.perf_counter() - started) * 1000)


if __name__ == "__main__":
    _ask_until_told(*sys.argv[1:])
