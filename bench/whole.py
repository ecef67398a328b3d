"""The whole site, as the demo starts it: one film a second, a burst, and the same films in a plain loop."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx
import psutil
from pydicom import Dataset
from worklist.urgency import UrgencyPolicy, assess_urgency

from bench.figures import Figure, percentile
from bench.films import simulated_films
from dicom_sr.build import Revision, build_results
from firstread.compose_worker import build_explainer, build_pacs, build_scorer
from firstread.demo import Site, running_site, wait_until_done
from firstread.processes import Supervisor
from firstread.settings import Settings
from gateway.dimse.send import send
from imaging.display import to_display
from imaging.radiograph import read_radiograph
from worklist.records import Database, ReadingList

_STEADY, _BURST = 30, 30
_LOOK_EVERY_S = 0.02
_STABLE_AGE_S = 2
_PORT_BASE = 18980


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
    """Latency under one film a second, throughput of a burst, memory of a worker."""
    steady, burst = list(simulated_films(_STEADY)), list(simulated_films(_BURST))
    with tempfile.TemporaryDirectory() as folder:
        site = Site(state=Path(folder), port_base=_PORT_BASE, stable_age_s=_STABLE_AGE_S)
        with running_site(site) as supervisor:
            _store(site, simulated_films(2))  # to warm up
            wait_until_done(site, 2)
            return [*_steady(site, steady), *_burst(site, burst), _memory(supervisor)]


def _steady(site: Site, films: Sequence[Dataset]) -> list[Figure]:
    stored_at = {}
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
    inference = _inference_s(site, list(stored_at))
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
            name=f"C-STORE to SR stored, p50 (StableAge {_STABLE_AGE_S} s)",
            value=statistics.median(to_report),
            unit="s",
            at_most=_STABLE_AGE_S + 2,
        ),
    ]


def _burst(site: Site, films: Sequence[Dataset]) -> list[Figure]:
    with _Watch(site.gateway_url) as watch:
        started = time.monotonic()
        _store(site, films)
        wait_until_done(site, len(films))
        time.sleep(2 * _LOOK_EVERY_S)
    uids = [film.StudyInstanceUID for film in films]
    scored_s = max(watch.scored_at[uid] for uid in uids) - started
    reported_s = max(watch.reported_at[uid] for uid in uids) - started
    loop_s = _plain_loop(site, films)
    rate, loop_rate = len(films) / (reported_s - _STABLE_AGE_S), len(films) / loop_s
    return [
        Figure(
            name=f"Burst of {len(films)}: stored and in order, sustained", value=len(films) / scored_s, unit="films/s"
        ),
        Figure(
            name=f"Burst of {len(films)}: stored, in order and reported (StableAge taken off)",
            value=rate,
            unit="films/s",
        ),
        Figure(
            name="Baseline: the same films in a plain loop (fetch, infer, build, store)",
            value=loop_rate,
            unit="films/s",
        ),
        Figure(name="Ratio to the baseline", value=rate / loop_rate, unit="x"),
    ]


def _plain_loop(site: Site, films: Sequence[Dataset]) -> float:
    settings = Settings(orthanc_url=site.orthanc_url)
    pacs, scorer, explainer = build_pacs(settings), build_scorer(settings), build_explainer(settings)
    now = datetime.now(UTC)
    revision = Revision(number=900, fetched_at=now, scored_at=now, reported_at=now)
    started = time.monotonic()
    for film in films:
        source = pacs.fetch_instance(film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID)
        prepared = read_radiograph(source)
        analysis = explainer.explain(scorer.score(prepared), prepared)
        results = build_results(
            analysis,
            urgency=assess_urgency(analysis, UrgencyPolicy()),
            source=source,
            pixels=to_display(prepared),
            revision=revision,
        )
        pacs.store(results.objects)
    return time.monotonic() - started


def _memory(supervisor: Supervisor) -> Figure:
    worker = psutil.Process(supervisor.pid("worker-score"))
    peaks = [_peak_mb(process.pid) for process in (worker, *worker.children(recursive=True))]
    return Figure(name="Peak memory of a worker's process", value=max(peaks), unit="MB", at_most=500)


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _inference_s(site: Site, study_instance_uids: Sequence[str]) -> list[float]:
    database = Database(site.database_url)
    reading_list = ReadingList(database)
    found = [reading_list.find(uid) for uid in study_instance_uids]
    database.close()
    return [study.analysis.elapsed_ms / 1000 if study and study.analysis else 0.0 for study in found]


def _store(site: Site, films: Iterable[Dataset]) -> None:
    result = send(films, host="127.0.0.1", port=site.orthanc_dicom_port, called_aet="ORTHANC")
    if result.failed:
        raise SystemExit(f"not stored: {result.failed[0].reason}")
