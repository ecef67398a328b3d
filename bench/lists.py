"""The reading list of a large site: a page, one study, what changed and what idling costs, on both databases."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

import migrations
from bench.figures import Figure, percentile
from gateway.list.items import page_json
from tests.servers import PostgresServer, running
from worklist.card import FindingCard, Precision, ScorerCard
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference, Region, Side
from worklist.job import JobLimits
from worklist.order import OrderPriority
from worklist.reading import Actor, ActorSource, HowRead, ReadingState
from worklist.records import Database, IntakeRecords, JobRecords, ListCounts, Measures, ReadingRecords, Worklist
from worklist.records.documents import analysis_to_document
from worklist.records.tables import AnalysisRow, InstanceRow, ReportRow, ResultRow, StudyRow
from worklist.site import SiteRules
from worklist.study import StudyState
from worklist.triage import SiteChoices, TriagePolicy, Urgency

STUDIES, UNREAD = 100_000, 2_000
_PATIENTS = 30_007  # so that most have earlier studies
_AT_ONCE = 1000
_REPEATS = 200
_IDLE_S = 3.0
_SCORER = Algorithm(name="embedded", version="1", sha256="a" * 64, device_uid="2.25.7")
_KINDS = (
    FindingType.PNEUMOTHORAX,
    FindingType.PLEURAL_EFFUSION,
    FindingType.CONSOLIDATION,
    FindingType.PNEUMONIA,
    FindingType.CARDIOMEGALY,
    FindingType.PULMONARY_EDEMA,
)
_SOMEBODY = Actor(name="Somebody", source=ActorSource.TYPED)


def measure_lists(studies: int = STUDIES, unread: int = UNREAD) -> list[Figure]:
    """Times at a size, for a list of which all but the newest were read."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="firstread-bench-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name, url in databases(root):
            with closing(Database(url)) as database:
                migrations.upgrade(database)
                fill_records(database, studies, unread)
                figures += _measure(name, database)
    return figures


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    folder.mkdir()
    with running(PostgresServer(folder)) as server:
        yield server.url(server.create_database())


def databases(root: Path) -> Iterator[tuple[str, str]]:
    """Name and URL of an empty database of each kind, for as long as the next one is not asked for."""
    yield "SQLite", f"sqlite:///{root / 'firstread.db'}"
    with _postgres(root / "postgres") as url:
        yield "PostgreSQL", url


def _measure(name: str, database: Database) -> list[Figure]:
    rules = SiteRules()
    worklist, readings = Worklist(database, rules), ReadingRecords(database=database, rules=rules)
    intake, jobs = IntakeRecords(database, rules), JobRecords(database, rules, JobLimits())
    offsets = [random.Random(0).randrange(0, 20) * 100 for _ in range(_REPEATS)]  # noqa: S311 - no secret
    uids = [line.study_instance_uid for line in worklist.page(limit=_REPEATS)[1]]
    no_counts = ListCounts(listed=0, overdue=0, priors=0)

    def page(number: int) -> None:
        total, lines = worklist.page(limit=100, offset=offsets[number])
        page_json(total, no_counts, lines)

    def change(number: int) -> None:
        before = worklist.newest()
        readings.claim(_SOMEBODY, uids[number])
        assert len(worklist.changed_after(before)[1]) == 1  # noqa: S101 - else it measures nothing

    def tick(_: int) -> None:
        intake.complete_quiet()
        intake.longest_unchecked(timedelta(days=1), 30)
        jobs.due(50)
        jobs.sweep()
        readings.lapse()

    first, pages = times(lambda _: page(0)), times(page)
    single = times(lambda number: worklist.find(uids[number]))
    priors = times(lambda number: worklist.priors(uids[number]))
    measures = Measures(database, rules.target_wait)
    newest = measures.newest()
    counted = times(lambda _: (measures.passed(newest - _REPEATS), measures.now()))
    started = time.process_time()
    busy = len(times(page))
    page_cpu_ms = (time.process_time() - started) * 1000 / busy
    return [
        Figure(name=f"{name}: any page of 100, our own processor time", value=page_cpu_ms, unit="ms"),
        Figure(name=f"{name}: first page of 100, p50", value=percentile(first, 50), unit="ms"),
        Figure(name=f"{name}: first page of 100, p95", value=percentile(first, 95), unit="ms", at_most=20),
        Figure(name=f"{name}: any page of 100, p50", value=percentile(pages, 50), unit="ms"),
        Figure(name=f"{name}: any page of 100, p95", value=percentile(pages, 95), unit="ms", at_most=20),
        Figure(name=f"{name}: one study, p50", value=percentile(single, 50), unit="ms"),
        Figure(name=f"{name}: one study, p95", value=percentile(single, 95), unit="ms", at_most=5),
        Figure(name=f"{name}: priors of a study, p95", value=percentile(priors, 95), unit="ms", at_most=5),
        Figure(name=f"{name}: counts, p95", value=percentile(times(lambda _: worklist.counts()), 95), unit="ms"),
        Figure(name=f"{name}: all that GET /metrics asks, p95", value=percentile(counted, 95), unit="ms", at_most=50),
        Figure(name=f"{name}: claim and its change, p95", value=percentile(times(change), 95), unit="ms"),
        Figure(name=f"{name}: what is asked every second, p50", value=percentile(times(tick), 50), unit="ms"),
        Figure(name=f"{name}: waiting for changes", value=_idle_share(database), unit="% of a core", at_most=5),
    ]


def times(work: Callable[[int], object]) -> list[float]:
    """Times of some runs of a piece of work, told its number, in milliseconds."""
    measured = []
    for number in range(_REPEATS):
        started = time.perf_counter()
        work(number)
        measured.append((time.perf_counter() - started) * 1000)
    return measured[5:]


def _idle_share(database: Database) -> float:
    """Processor time of one that waits, which wakes all pages of its process."""
    ends = time.monotonic() + _IDLE_S
    started, worklist = time.process_time(), Worklist(database, SiteRules())
    newest = worklist.newest()
    for _ in database.commits(lambda: time.monotonic() > ends):
        newest, _, _ = worklist.changed_after(newest)
    return (time.process_time() - started) / _IDLE_S * 100


def _policy() -> TriagePolicy:
    weights = (1.0, 0.8, 0.5, 0.5, 0.2, 0.6)
    return TriagePolicy.of(
        ScorerCard(
            name=_SCORER.name,
            version=_SCORER.version,
            sha256=_SCORER.sha256,
            findings=tuple(
                FindingCard(type=kind, weight=weight, named_from=0.5, precision=Precision(value=0.7, n=100))
                for kind, weight in zip(_KINDS, weights, strict=True)
            ),
            not_looked_for=("fractures",),
            flag_from=0.4,
            reference="films",
            reference_harms=tuple(number / 200 for number in range(101)),
        ),
        SiteChoices(),
    )


def fill_records(database: Database, studies: int, unread: int, known: Sequence[tuple[str, str]] = ()) -> None:
    """Give a database the records of a hospital.

    Args:
        database: with all tables, and no rows.
        studies: how many.
        unread: how many of them, the newest, are to be read.
        known: Orthanc's identifiers and Study Instance UIDs of the newest ones; the others have made-up ones.
    """
    now, policy, chance = datetime.now(UTC), _policy(), random.Random(0)  # noqa: S311 - no secret
    JobRecords(database, SiteRules(), JobLimits()).adopt_policy(policy)
    for start in range(0, studies, _AT_ONCE):
        rows: dict[type, list[dict[str, Any]]] = {
            table: [] for table in (StudyRow, InstanceRow, AnalysisRow, ReportRow, ResultRow)
        }
        for number in range(start, min(start + _AT_ONCE, studies)):
            at = now - timedelta(seconds=30 * number)
            named = known[number] if number < len(known) else (f"o{number}", f"1.2.826.0.1.3680043.{number}")
            _add(rows, number, named, at, harm=chance.random() ** 3, is_read=number >= unread, policy=policy)
        with database.write() as session:
            for table, values in rows.items():
                session.execute(insert(table), values)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _add(  # noqa: PLR0913 - what one study differs by
    rows: dict[type, list[dict[str, Any]]],
    number: int,
    named: tuple[str, str],
    at: datetime,
    *,
    harm: float,
    is_read: bool,
    policy: TriagePolicy,
) -> None:
    orthanc_id, uid = named
    image = f"{uid}.1.1"
    document = analysis_to_document(_analysis(uid, image, harm, at))
    head_start = policy.head_start(harm)
    rows[StudyRow].append(
        {
            "study_instance_uid": uid,
            "orthanc_id": orthanc_id,
            "patient_id": f"P{number % _PATIENTS}",
            "patient_name": f"Doe^Jane{number}",
            "patient_sex": "F",
            "patient_age": "064Y",
            "accession_number": f"A{number}",
            "study_description": "Chest PA",
            "study_date": f"{at:%Y%m%d}",
            "modality": "DX",
            "ward": "Emergency",
            "station": "ER-DX-1",
            "view": "PA",
            "question": "Dyspnea since this morning, pneumothorax?",
            "acquired_at": at,
            "received_at": at,
            "order_priority": OrderPriority.ROUTINE,
            "stat_rank": 1,
            "queue_at": at - head_start,
            "state": StudyState.REPORTED,
            "score": harm,
            "harm": harm,
            "urgency": Urgency.URGENT if head_start else Urgency.NONE,
            "policy_digest": policy.digest,
            "reason": "Pleural effusion likely" if head_start else "",
            "revision": 1,
            "reported_revision": 1,
            "incomplete_since": None,
            "reading_state": ReadingState.READ if is_read else ReadingState.UNREAD,
            "reading_number": 1,
            "reader": "Somebody" if is_read else "",
            "reading_since": at + timedelta(minutes=20),
            "reading_until": None,
            "how_read": HowRead.BY_HAND if is_read else None,
            "returned_for": "",
            "checked_at": at,
            "updated_at": at,
        }
    )
    rows[InstanceRow].append(
        {
            "sop_instance_uid": image,
            "study_orthanc_id": orthanc_id,
            "series_instance_uid": f"{uid}.1",
            "digest": "d",
            "scope_code": None,
            "scope_message": None,
        }
    )
    rows[AnalysisRow].append(
        {
            "study_orthanc_id": orthanc_id,
            "sop_instance_uid": image,
            "digest": "d",
            "scorer_sha256": _SCORER.sha256,
            "scored_at": at,
            "document": document,
        }
    )
    rows[ReportRow].append(
        {
            "study_orthanc_id": orthanc_id,
            "revision": 1,
            "document": document,
            "policy_digest": policy.digest,
            "unscored": 0,
            "reported_at": at,
            "stored_at": at,
        }
    )
    rows[ResultRow].extend(
        {
            "sop_instance_uid": f"{uid}.9.{place}",
            "study_orthanc_id": orthanc_id,
            "series_instance_uid": f"{uid}.{8 if place else 9}",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.33",
            "revision": 1,
            "position": place,
        }
        for place in range(3)
    )


def _analysis(uid: str, image: str, harm: float, at: datetime) -> Analysis:
    return Analysis(
        images=(
            ImageReference(
                study_instance_uid=uid,
                series_instance_uid=f"{uid}.1",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
                sop_instance_uid=image,
                rows=2048,
                columns=2500,
            ),
        ),
        scorer=_SCORER,
        findings=tuple(
            Finding(
                type=kind,
                probability=min(1.0, harm / (1 + place)),
                threshold=0.4,
                side=Side.RIGHT,
                region=Region(x=100, y=100, width=300, height=300),
            )
            for place, kind in enumerate(_KINDS)
        ),
        score=harm,
        threshold=0.3,
        completed_at=at,
        elapsed_ms=12.5,
        explanation="Look first at the right base. " * 4,
        explainer=_SCORER,
        prompt_version="1",
    )
