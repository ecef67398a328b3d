"""The whole site, as the demo starts it: one film a second, bursts, the cost of a film, and a plain loop beside it."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import numpy.typing as npt
import psutil
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset
from sqlalchemy import select

from bench.figures import Figure, percentile
from bench.films import simulated_films
from dicom_sr.build import Revision, build_results
from firstread.compose_worker import build_explainer, build_scorer
from firstread.demo import Site, running_site, wait_until_done
from firstread.processes import Supervisor
from firstread.settings import Settings
from gateway.dimse.send import send
from imaging.display import to_display
from imaging.radiograph import Radiograph, read_radiograph
from worklist.finding import ImageReference
from worklist.records import Database, Worklist
from worklist.records.tables import StudyRow
from worklist.site import SiteRules
from worklist.study import StudyState
from worklist.triage import SiteChoices, TriagePolicy, assess

_STEADY, _BURST, _ROUNDS = 30, 20, 3
_NAME = f"Burst of {_BURST}"
_LOOK_EVERY_S = 0.02
_QUIET_S = 2
_PORT_BASE = 18980
_ASK_EVERY_S, _PATIENCE_S = 0.05, 300
_MILESTONES = {
    StudyState.SCORED: {StudyState.SCORED, StudyState.REPORTED},
    StudyState.REPORTED: {StudyState.REPORTED},
}
_SETTLED_S = 3.0  # after which what a burst has freed is given back
_WORKERS = {"score": "worker-score", "report and predict": "worker-report"}
_FIRSTREAD = ("redis", "gateway", *_WORKERS.values())


class _Watch:
    """Looks at GET /worklist every 20 ms and notes when each study gets its place, and its report."""

    def __init__(self, url: str) -> None:
        self.scored_at: dict[str, float] = {}
        self.reported_at: dict[str, float] = {}
        self._url = url
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            while not self._done.wait(_LOOK_EVERY_S):
                for item in http.get(f"{self._url}/worklist", params={"limit": 1000}).json()["items"]:
                    now = time.monotonic()
                    if item["score"] is not None:
                        self.scored_at.setdefault(item["study_instance_uid"], now)
                    if item["state"] == "reported":
                        self.reported_at.setdefault(item["study_instance_uid"], now)


def measure_whole() -> list[Figure]:
    """Latency under one film a second, throughput and cost of bursts, and what a plain loop takes for the same."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(state=Path(folder), port_base=_PORT_BASE, quiet_s=_QUIET_S)
        with running_site(site) as supervisor, closing(Database(site.database_url)) as database:
            _store(site, simulated_films(3))  # to warm up, one of each kind
            wait_until_done(site, 3)
            figures = [*_steady(site, database), *_bursts(site, supervisor, database)]
            return [*figures, _memory(supervisor), _peak(supervisor)]


def _steady(site: Site, database: Database) -> list[Figure]:
    films, stored_at = list(simulated_films(_STEADY)), {}
    with _Watch(site.gateway_url) as watch:
        for film in films:
            started = time.monotonic()
            _store(site, [film])
            stored_at[film.StudyInstanceUID] = time.monotonic()
            time.sleep(max(0.0, 1.0 - (time.monotonic() - started)))
        wait_until_done(site, len(films))
        time.sleep(2 * _LOOK_EVERY_S)
    to_order = [watch.scored_at[uid] - stored for uid, stored in stored_at.items()]
    to_report = [watch.reported_at[uid] - stored for uid, stored in stored_at.items()]
    inference = _inference_s(database, list(stored_at))
    beside = [to_order[number] - inference[number] for number in range(len(to_order))]
    return [
        Figure(
            name="One film a second: C-STORE to new order, p50", value=percentile(to_order, 50), unit="s", at_most=1
        ),
        Figure(
            name="One film a second: C-STORE to new order, p95", value=percentile(to_order, 95), unit="s", at_most=2
        ),
        Figure(name="... of that, all but inference, p50", value=statistics.median(beside), unit="s", at_most=0.3),
        Figure(
            name=f"C-STORE to SR stored, p50 (quiet time {_QUIET_S} s)",
            value=statistics.median(to_report),
            unit="s",
            at_most=_QUIET_S + 2,
        ),
    ]


def _bursts(site: Site, supervisor: Supervisor, database: Database) -> list[Figure]:
    """Bursts and plain loops in turn, so that both see the same machine; the medians of their rates."""
    in_order, reported, looped = [], [], []
    spent: list[dict[str, float]] = []
    for _ in range(_ROUNDS):
        films = list(simulated_films(_BURST))
        before = _Spent.by(supervisor)
        scored_s, reported_s = _progress(site, database, films)
        spent.append(_Spent.by(supervisor).per_film_since(before, len(films)))
        in_order.append(len(films) / scored_s)
        reported.append(len(films) / (reported_s - _QUIET_S))
        looped.append(len(films) / _plain_loop(site, films))
        wait_until_done(site, len(films))
        time.sleep(_SETTLED_S)
    cost = {name: statistics.median(one[name] for one in spent) for name in spent[0]}
    rate, loop_rate = statistics.median(reported), statistics.median(looped)
    parts = {
        "gateway": cost["gateway"],
        **{f"worker of {queues}": cost[program] for queues, program in _WORKERS.items()},
        "Orthanc, not counted": cost["orthanc"],
    }
    return [
        Figure(name=f"{_NAME}: stored and in order, sustained", value=statistics.median(in_order), unit="films/s"),
        Figure(
            name=f"{_NAME}: stored, in order and reported (quiet time taken off)",
            value=rate,
            unit="films/s",
            at_least=5,
        ),
        Figure(
            name="Baseline: the same films in a plain loop (fetch, infer, build, store)",
            value=loop_rate,
            unit="films/s",
        ),
        Figure(name="Ratio to the baseline", value=rate / loop_rate, unit="x", at_least=1.3),
        Figure(
            name=f"{_NAME}: processor time a film, all of Firstread",
            value=sum(cost[program] for program in _FIRSTREAD),
            unit="s",
            at_most=0.2,
        ),
        *(Figure(name=f"... {part}", value=seconds, unit="s") for part, seconds in parts.items()),
    ]


@dataclass(frozen=True)
class _Only:
    """The only image of a study, for whoever asks."""

    prepared: Radiograph

    def radiograph(self, _: ImageReference) -> Radiograph:
        return self.prepared

    def display(self, _: ImageReference) -> npt.NDArray[np.uint8]:
        return to_display(self.prepared)


def _plain_loop(site: Site, films: Sequence[Dataset]) -> float:
    """Seconds that a script takes for films that lie in the PACS: DICOMweb, one thread, one film after the other."""
    settings = Settings(orthanc_url=site.orthanc_url)
    scorer, explainer = build_scorer(settings), build_explainer(settings)
    policy = TriagePolicy.of(scorer.card, SiteChoices())
    session = requests.Session()
    session.trust_env = False
    pacs = DICOMwebClient(f"{site.orthanc_url}/dicom-web", session=session)
    now = datetime.now(UTC)
    revision = Revision(number=900, fetched_at=now, scored_at=now, reported_at=now)

    def report(film: Dataset) -> None:
        source = pacs.retrieve_instance(
            film.StudyInstanceUID,
            film.SeriesInstanceUID,
            film.SOPInstanceUID,
            media_types=(("application/dicom", "*"),),
        )
        prepared = read_radiograph(source)
        analysis = scorer.score(prepared)
        triage = assess(analysis, policy)
        results = build_results(
            explainer.explain(analysis, triage, _Only(prepared).radiograph),
            triage=triage,
            policy=policy,
            sources={source.SOPInstanceUID: source},
            pixels=_Only(prepared).display,
            revision=revision,
        )
        pacs.store_instances(list(results.objects))

    started = time.monotonic()
    for film in films:
        report(film)
    return time.monotonic() - started


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spent:
    """Processor seconds of the site's programs, children included, by name."""

    seconds: dict[str, float]

    @classmethod
    def by(cls, supervisor: Supervisor) -> _Spent:
        return cls(
            seconds={
                name: sum(sum(one.cpu_times()[:2]) for one in _processes(supervisor, name))
                for name in (*_FIRSTREAD, "orthanc")
            }
        )

    def per_film_since(self, before: _Spent, films: int) -> dict[str, float]:
        return {name: (spent - before.seconds[name]) / films for name, spent in self.seconds.items()}


def _progress(site: Site, database: Database, films: Sequence[Dataset]) -> tuple[float, float]:
    """Seconds from the first C-STORE on until all are in order, and until all are reported.

    Asked of the records, one short query at a time: a watch over HTTP would cost the gateway more than the films do.
    """
    uids = {str(film.StudyInstanceUID) for film in films}
    seen: dict[StudyState, float] = {}
    sender = threading.Thread(target=_store, args=(site, films))
    started = time.monotonic()
    sender.start()
    while StudyState.REPORTED not in seen:
        if time.monotonic() - started > _PATIENCE_S:
            raise SystemExit(f"the burst is not reported after {_PATIENCE_S} s")
        time.sleep(_ASK_EVERY_S)
        with database.read() as session:
            rows = session.execute(select(StudyRow.study_instance_uid, StudyRow.state)).all()
        states = [state for uid, state in rows if uid in uids]
        for milestone, reached in _MILESTONES.items():
            if sum(state in reached for state in states) == len(uids):
                seen.setdefault(milestone, time.monotonic() - started)
    sender.join()
    return seen[StudyState.SCORED], seen[StudyState.REPORTED]


def _processes(supervisor: Supervisor, name: str) -> Iterator[psutil.Process]:
    main = psutil.Process(supervisor.pid(name))
    yield main
    yield from main.children(recursive=True)


def _memory(supervisor: Supervisor) -> Figure:
    time.sleep(_SETTLED_S)
    shares = [one.memory_full_info().pss / 2**20 for name in _FIRSTREAD for one in _processes(supervisor, name)]
    return Figure(name="Memory of all processes without Orthanc (PSS)", value=sum(shares), unit="MB", at_most=600)


def _peak(supervisor: Supervisor) -> Figure:
    peaks = [_peak_mb(one.pid) for one in _processes(supervisor, _WORKERS["score"])]
    return Figure(name="Peak memory of a worker's process", value=max(peaks), unit="MB", at_most=500)


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _inference_s(database: Database, study_instance_uids: Sequence[str]) -> list[float]:
    worklist = Worklist(database, SiteRules())
    found = [worklist.find(uid) for uid in study_instance_uids]
    return [study.analysis.elapsed_ms / 1000 if study and study.analysis else 0.0 for study in found]


def _store(site: Site, films: Iterable[Dataset]) -> None:
    result = send(films, host="127.0.0.1", port=site.orthanc_dicom_port, called_aet="ORTHANC")
    if result.failed:
        raise SystemExit(f"not stored: {result.failed[0].reason}")
