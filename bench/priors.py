"""What looking for a patient's earlier film and report adds to the slow path, where Orthanc holds a million studies.

A patient's 12 studies with films of a real detector's size and a report are stored in a real Orthanc. Then, while it
stands still, its SQLite index is given the rows of a million studies more, as it would have written them itself; their
files are not made, since nobody asks for them. The same look-up is timed before and after.
"""

from __future__ import annotations

import io
import json
import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import httpx
import structlog
from pydicom import Dataset
from rich.console import Console
from sqlalchemy import update

import migrations
from bench.figures import Figure, percentile
from bench.films import simulated_films
from bench.lists import fill_records
from firstread.demo import Site, orthanc_configuration
from firstread.processes import Program, Supervisor, wait_until_ready
from imaging.radiograph import read_radiograph
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import GatedScorer
from tests.prior_studies import PATIENT, text_report
from tests.servers import orthanc_id
from worker.pacs import Pacs
from worker.priors import Prior, PriorFinder
from worklist.finding import Analysis
from worklist.records import Database, ExplanationRecords
from worklist.records.documents import analysis_to_document
from worklist.records.tables import AnalysisRow, InstanceRow
from worklist.scope import ScopeRules

STUDIES: Final = 1_000_000
_PER_PATIENT = 4
_OF_THE_PATIENT = 12
_NEWEST, _APART = date(2026, 11, 20), timedelta(days=90)
_REPEATS = 40
_AT_MOST_MS = 150.0
_PORT_BASE = 18940
_STARTS_IN_S = 300.0

# A row of the index that is written for each study, as Orthanc 1.10 writes it; i counts the studies.
_COUNTED: Final = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :studies)"
_PATIENTS: Final = "(SELECT i FROM n WHERE i % :per_patient = 0)"
_NAME, _ID = "printf('SIMULATED^BENCH%07d', i / :per_patient)", "printf('BENCH-%07d', i / :per_patient)"
_BORN, _DAY = (
    "printf('19%02d0%d1%d', i % 90, 1 + i % 9, i % 9)",
    "printf('20%02d0%d1%d', 10 + i % 16, 1 + i % 9, i % 9)",
)
_SEX, _ACCESSION = "CASE i % 2 WHEN 0 THEN 'F' ELSE 'M' END", "printf('A%08d', i)"
_UID: Final = "printf('1.2.826.0.1.3680043.10.543.%d.%d', i, :level)"
_PUBLIC: Final = (
    "lower(printf('%s-%s-%s-%s-%s', hex(randomblob(4)), hex(randomblob(4)), hex(randomblob(4)), hex(randomblob(4)),"
    " hex(randomblob(4))))"
)
_TAGS: Final[Mapping[int, Mapping[tuple[int, ...], str]]] = {
    1: {(16, 16): _NAME, (16, 32): _ID, (16, 48): _BORN, (16, 64): _SEX},
    2: {
        (8, 32): _DAY, (8, 48): "'101500'", (8, 80): _ACCESSION, (8, 144): "''", (8, 4144): "'Chest PA'",
        (16, 16): _NAME, (16, 32): _ID, (16, 48): _BORN, (16, 64): _SEX, (32, 13): _UID, (32, 16): "''",
    },
    3: {(8, 96): "'DX'", (8, 112): "'Maker'", (24, 21): "'CHEST'", (32, 14): _UID, (32, 17): "'1'"},
    4: {(8, 24): _UID, (32, 19): "'1'"},
}  # fmt: skip
_IDENTIFIERS: Final[Mapping[int, tuple[tuple[int, ...], ...]]] = {
    1: ((16, 16), (16, 32), (16, 48)),
    2: ((8, 32), (8, 80), (8, 4144), (16, 16), (16, 32), (16, 48), (32, 13)),
    3: ((32, 14),),
    4: ((8, 24),),
}
_METADATA: Final = {
    1: {7: "'20261101T101500'"},
    2: {3: "''", 7: "'20261101T101500'"},
    3: {3: "''", 7: "'20261101T101500'"},
    4: {
        1: "'1'", 2: "'20261101T101500'", 3: "''", 8: "'DicomProtocol'", 9: "'1.2.840.10008.1.2.1'",
        10: "'1.2.840.10008.5.1.4.1.1.1.1'", 11: "'10.0.0.1'", 13: "''", 14: "'1200'",
    },
}  # fmt: skip
_RESOURCE: Final = (":base + 4 * (i - i % :per_patient) + 1", *(f":base + 4 * i + {level}" for level in (2, 3, 4)))
_KEYS: Final = {"MainDicomTags": ("g", "e"), "DicomIdentifiers": ("g", "e"), "Metadata": ("kind",)}
_SCATTERED: Final = {  # what is written in no order is indexed at the end
    "PublicIndex": "Resources(publicId)",
    "DicomIdentifiersIndexValues": "DicomIdentifiers(value COLLATE BINARY)",
}


def measure_priors() -> list[Figure]:
    """Times of a look-up at both sizes."""
    say = Console().print
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    films = _films()
    scorer = GatedScorer(EmbeddedScorer())
    now = scorer.score(read_radiograph(films[0]))
    with tempfile.TemporaryDirectory(prefix="firstread-bench-") as name:
        site = Site(state=Path(name), port_base=_PORT_BASE)
        for folder in ("orthanc", "logs", "unscored", "scored"):
            (site.state / folder).mkdir()
        with _orthanc(site):
            for dataset in (*films, text_report(films[1], "Small left pleural effusion.", "The heart is enlarged.")):
                httpx.post(f"{site.orthanc_url}/instances", content=_file(dataset), trust_env=False).raise_for_status()
        with (
            closing(_database(site.state / "unscored")) as unscored,
            closing(_database(site.state / "scored")) as scored,
        ):
            _keep_score(scored, films[1], scorer.score(read_radiograph(films[1])))
            look = _Look(site=site, scored=scored, unscored=unscored, scorer=scorer, image=films[0], analysis=now)
            with _orthanc(site):
                figures = look.times(f"{_OF_THE_PATIENT} studies in Orthanc")
            started = time.monotonic()
            _fill(site.state / "orthanc" / "index")
            say(f"{STUDIES:,} studies written to the index in {time.monotonic() - started:.0f} s")
            with _orthanc(site):
                held = httpx.get(f"{site.orthanc_url}/statistics", trust_env=False, timeout=60).json()["CountStudies"]
                figures += look.times(f"{held:,} studies in Orthanc", at_most=_AT_MOST_MS)
    return figures


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """A look-up that is timed: where, for which study, and with which records."""

    site: Site
    scored: Database
    unscored: Database
    scorer: GatedScorer
    image: Dataset
    analysis: Analysis

    def times(self, name: str, at_most: float | None = None) -> list[Figure]:
        """Of a look-up where the list has the earlier score, and of one where the film is scored on the way."""
        known = self._milliseconds(self.scored)
        on_the_way = self._milliseconds(self.unscored)
        return [
            Figure(name=f"{name}: film and report found, p50", value=percentile(known, 50), unit="ms", at_most=at_most),
            Figure(name="... p95", value=percentile(known, 95), unit="ms"),
            Figure(
                name="... the earlier film scored on the way, p50",
                value=percentile(on_the_way, 50),
                unit="ms",
                at_most=at_most,
            ),
            Figure(name="... p95", value=percentile(on_the_way, 95), unit="ms"),
        ]

    def _milliseconds(self, database: Database) -> list[float]:
        finder = PriorFinder(
            Pacs(self.site.orthanc_url, auth=None),
            ExplanationRecords(database),
            scope=ScopeRules,
            load_scorer=lambda: self.scorer,
        )
        study = orthanc_id(str(self.image.PatientID), str(self.image.StudyInstanceUID))
        times = []
        for _ in range(_REPEATS + 2):
            started = time.perf_counter()
            _require(finder.find(study, self.analysis, self.image))
            times.append((time.perf_counter() - started) * 1000)
        return times[2:]


def _require(prior: Prior | None) -> None:
    if prior is None or prior.analysis is None or prior.report is None or prior.not_compared:
        raise SystemExit(f"the prior was not found: {prior}")


def _films() -> list[Dataset]:
    """The patient's films, the newest first."""
    films = list(simulated_films(_OF_THE_PATIENT))
    for number, film in enumerate(films):
        for keyword, value in PATIENT.items():
            setattr(film, keyword, value)
        film.StudyDate, film.StudyTime = f"{_NEWEST - number * _APART:%Y%m%d}", "101500"
    return films


def _file(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _database(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'firstread.db'}")
    migrations.upgrade(database)
    return database


def _keep_score(database: Database, film: Dataset, analysis: Analysis) -> None:
    """Let the list know the score of a film."""
    study, image = str(film.StudyInstanceUID), str(film.SOPInstanceUID)
    fill_records(database, 1, 0, [(orthanc_id(str(film.PatientID), study), study)])
    with database.write() as session:
        session.execute(update(InstanceRow).values(sop_instance_uid=image))
        kept = analysis_to_document(analysis)
        session.execute(
            update(AnalysisRow).values(sop_instance_uid=image, scorer_sha256=analysis.scorer.sha256, document=kept)
        )


@contextmanager
def _orthanc(site: Site) -> Iterator[None]:
    """The product's Orthanc, without plug-ins, of which a look-up asks none."""
    file = site.state / "orthanc.json"
    file.write_text(json.dumps({**orthanc_configuration(site), "Plugins": [], "PythonScript": ""}), encoding="utf-8")
    supervisor = Supervisor()
    try:
        supervisor.start(Program(name="orthanc", command=["Orthanc", file], log=site.log("orthanc")))
        wait_until_ready("Orthanc", _answers(site), site.log("orthanc"), timeout_s=_STARTS_IN_S)
        yield
    finally:
        supervisor.stop()


def _answers(site: Site) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            return httpx.get(f"{site.orthanc_url}/system", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    return answers


def _fill(index: Path) -> None:
    """Give Orthanc's index the rows of STUDIES studies of one film, and of a quarter as many patients."""
    with closing(sqlite3.connect(index, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        for name in _SCATTERED:
            connection.execute(f"DROP INDEX {name}")
        base = connection.execute("SELECT max(internalId) FROM Resources").fetchone()[0]
        values = {"studies": STUDIES, "per_patient": _PER_PATIENT, "base": base}
        connection.execute("BEGIN")
        for level, own in enumerate(_RESOURCE, start=1):
            parent = _RESOURCE[level - 2] if level > 1 else "NULL"
            counted = _PATIENTS if level == 1 else "n"
            connection.execute(
                f"{_COUNTED} INSERT INTO Resources SELECT {own}, {level}, {_PUBLIC}, {parent} FROM {counted}",  # noqa: S608 - constants
                values,
            )
            tables: tuple[tuple[str, Mapping[tuple[int, ...], str]], ...] = (
                ("MainDicomTags", _TAGS[level]),
                ("DicomIdentifiers", {tag: _TAGS[level][tag] for tag in _IDENTIFIERS[level]}),
                ("Metadata", {(kind,): value for kind, value in _METADATA[level].items()}),
            )
            for table, rows in tables:
                columns = [", ".join(map(str, key)) for key in sorted(rows)]
                # In the order of the table's own key: a pass over it for each tag would take hours.
                tags = " UNION ALL ".join(f"SELECT {place} AS place, {key}" for place, key in enumerate(columns))
                value = " ".join(f"WHEN {place} THEN {rows[key]}" for place, key in enumerate(sorted(rows)))
                keys = ", ".join(f"t.{column}" for column in _KEYS[table])
                connection.execute(
                    f"{_COUNTED}, t(place, {', '.join(_KEYS[table])}) AS ({tags})"  # noqa: S608 - constants
                    f" INSERT INTO {table} SELECT {own}, {keys}, CASE t.place {value} END"
                    f" FROM {counted} CROSS JOIN t",
                    {**values, "level": level},
                )
        connection.execute(
            f"{_COUNTED} INSERT INTO AttachedFiles SELECT {_RESOURCE[3]}, 1, {_PUBLIC}, 9000000, 9000000, 1,"  # noqa: S608 - constants
            " lower(hex(randomblob(16))), lower(hex(randomblob(16))) FROM n",
            values,
        )
        connection.execute("COMMIT")
        for name, indexed in _SCATTERED.items():
            connection.execute(f"CREATE INDEX {name} ON {indexed}")
