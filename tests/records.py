"""What tests of the records share: a clock to set, a card, what a PACS tells of, and the records themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from worklist.card import FindingCard, Precision, ScorerCard
from worklist.errors import FirstreadError
from worklist.finding import Algorithm, Analysis, FindingType
from worklist.job import JobLimits, Queue
from worklist.order import OrderPriority
from worklist.procedure_step import ProcedureStepState
from worklist.reading import Actor, ActorSource
from worklist.records import (
    Database,
    IntakeRecords,
    Job,
    JobRecords,
    ListedStudy,
    ReadingRecords,
    ReceivedInstance,
    ReceivedReport,
    StoredResult,
    Worklist,
)
from worklist.records.tables import JobRow
from worklist.site import SiteRules
from worklist.study import Failure
from worklist.triage import SiteChoices, TriagePolicy

MakeAnalysis = Callable[..., Analysis]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STUDY = "1.2.3"
LATERAL = Failure(code="lateral_view", message="lateral view")
LIMITS = JobLimits(lease=15 * SECOND, max_attempts=3, first_pause=SECOND, pacs_patience=HOUR, requeue_after=10 * SECOND)
ANN = Actor(name="Ann", source=ActorSource.TYPED)
BEN = Actor(name="Ben", source=ActorSource.PROXY)
EXPLAINER = Algorithm(name="words", version="2", sha256="1" * 64, device_uid="2.25.2")
SCORER, OTHER_SCORER = "0" * 64, "2" * 64


class Clock:
    """A database's clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self, session: Session) -> datetime:
        """The moment that it shows."""
        del session
        return self.now

    def forward(self, span: timedelta) -> datetime:
        """Move it, and tell what it shows then."""
        self.now += span
        return self.now


def scorer_card(sha256: str = SCORER, flag_from: float = 0.4, **critical_from: float) -> ScorerCard:
    """The card of a scorer of six findings, of which edema is not shown; critical only where a threshold is given."""
    weights = {
        FindingType.PNEUMOTHORAX: 1.0,
        FindingType.PLEURAL_EFFUSION: 0.8,
        FindingType.CONSOLIDATION: 0.5,
        FindingType.PNEUMONIA: 0.5,
        FindingType.CARDIOMEGALY: 0.2,
        FindingType.PULMONARY_EDEMA: 0.7,
    }
    return ScorerCard(
        name="a model",
        version="1",
        sha256=sha256,
        findings=tuple(
            FindingCard(
                type=kind,
                weight=weight,
                is_shown=kind != FindingType.PULMONARY_EDEMA,
                named_from=0.6,
                precision=Precision(value=0.7, n=100),
                critical_from=critical_from.get(kind.key),
                critical_precision=Precision(value=0.6, n=50) if kind.key in critical_from else None,
            )
            for kind, weight in weights.items()
        ),
        not_looked_for=("fractures", "tubes and lines"),
        flag_from=flag_from,
        reference="200 films",
        reference_harms=tuple(number / 250 for number in range(101)),
    )


def policy(card: ScorerCard | None = None, site: SiteChoices | None = None) -> TriagePolicy:
    """A policy by which effusion from a probability of one half is flagged, and a pneumothorax from 0.9 is critical."""
    return TriagePolicy.of(card or scorer_card(pneumothorax=0.9), site or SiteChoices())


def received(  # noqa: PLR0913 - what sets one instance apart from another
    study: str = STUDY,
    image: str = "1",
    digest: str = "a",
    at: datetime = NOON,
    *,
    order_priority: OrderPriority = OrderPriority.ROUTINE,
    scope_failure: Failure | None = None,
    modality: str = "DX",
    study_date: str = "20261122",
    patient_id: str = "4711",
    **more: str,
) -> ReceivedInstance:
    """An instance as the intake describes it, with more of its texts; Orthanc's identifier is the UID behind an "o"."""
    return ReceivedInstance(
        orthanc_id=f"o{study}",
        instance_orthanc_id=f"o{study}.1.{image}",
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=f"{study}.1.{image}",
        digest=digest,
        received_at=at,
        patient_id=patient_id,
        patient_name="Doe^Jane",
        accession_number="A1",
        study_description="Chest PA",
        modality=modality,
        order_priority=order_priority,
        scope_failure=scope_failure,
        study_date=study_date,
        **more,  # type: ignore[arg-type]  # texts, by their keywords
    )


def report_of(study: str = STUDY, reader: str = "Dr Roe", at: datetime = NOON) -> ReceivedReport:
    """A radiologist's own report that lies in the PACS."""
    actor = Actor(name=reader, source=ActorSource.REPORT)
    return ReceivedReport(orthanc_id=f"o{study}", reader=actor, received_at=at)


def result(number: int, position: int = 0, study: str = STUDY) -> StoredResult:
    """An object in the PACS."""
    return StoredResult(
        sop_instance_uid=f"{study}.9.{number}.1",
        series_instance_uid=f"{study}.9.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
        position=position,
    )


@dataclass
class Records:
    """All sides of the records of one database, in the hands of one intake, one worker and one gateway."""

    database: Database
    clock: Clock
    make_analysis: MakeAnalysis
    rules: SiteRules = field(default_factory=SiteRules)

    def __post_init__(self) -> None:
        """Open every side."""
        self.intake = IntakeRecords(self.database, self.rules)
        self.jobs = JobRecords(self.database, self.rules, LIMITS)
        self.readings = ReadingRecords(database=self.database, rules=self.rules)
        self.worklist = Worklist(self.database, self.rules)

    def ingest(self, *arrived: ReceivedInstance | ReceivedReport, stable: Iterable[str] = ()) -> None:
        """Take in what arrived; the studies with these UIDs are complete."""
        self.intake.ingest(arrived, [f"o{study}" for study in stable])

    def study(self, study: str = STUDY) -> ListedStudy:
        """A study's line."""
        found = self.worklist.find(study)
        assert found is not None
        return found

    def listed(self) -> list[str]:
        """The Study Instance UIDs of the list, in order."""
        return [line.study_instance_uid for line in self.worklist.page()[1]]

    def due(self, queue: Queue | None = None) -> list[str]:
        """The identifiers of the jobs that are due."""
        return [job_id for job_id, of_queue in self.jobs.due(100) if queue in {None, of_queue}]

    def claim(self, queue: Queue, holder: str = "w") -> Job:
        """Claim the first due job of a queue."""
        job = self.jobs.claim(self.due(queue)[0], holder)
        assert job is not None
        assert job.queue is queue
        return job

    def score(
        self, findings: Mapping[FindingType, float] | None = None, score: float = 0.5, scorer: str = SCORER
    ) -> Job:
        """Claim and complete the first due image."""
        job = self.claim(Queue.SCORE)
        assert self.jobs.complete_score(job.job_id, "w", self.analysis_of(job, findings, score, scorer))
        return job

    def analysis_of(
        self,
        job: Job,
        findings: Mapping[FindingType, float] | None = None,
        score: float = 0.5,
        scorer: str = SCORER,
    ) -> Analysis:
        """What a scorer says of the image of a job."""
        return self.make_analysis(
            score,
            findings or {},
            study_instance_uid=job.study_instance_uid,
            sop_instance_uid=job.sop_instance_uid,
            scorer_sha256=scorer,
        )

    def report(self, *results: StoredResult) -> Job:
        """Claim, explain, keep, store and complete the first due report."""
        job = self.claim(Queue.REPORT)
        self.finish(job, *results)
        return job

    def finish(self, job: Job, *results: StoredResult, holder: str = "w") -> None:
        """Explain, keep, store and complete a claimed report."""
        subject = self.jobs.report_subject(job)
        analysis = subject.analysis
        if analysis and not subject.is_kept:
            analysis = analysis.explained(f"Words on {job.revision}.", explainer=EXPLAINER, prompt_version="1")
        assert self.jobs.keep_report(job.job_id, holder, subject, analysis)
        stored = results or [replace(result(job.revision, study=job.study_instance_uid))]
        assert self.jobs.complete_report(job.job_id, holder, stored)

    def fail(self, queue: Queue, error: FirstreadError) -> None:
        """Claim the first due job of a queue and give it up."""
        self.jobs.give_up(self.claim(queue).job_id, "w", error)

    def states(self, queue: Queue) -> list[tuple[int, ProcedureStepState]]:
        """Revision and state of all jobs of a queue."""
        with self.database.read() as session:
            rows = session.scalars(select(JobRow).where(JobRow.queue == queue).order_by(JobRow.revision, JobRow.digest))
            return [(row.revision, row.state) for row in rows]

    def kinds(self, study: str = STUDY) -> list[str]:
        """The kinds of all events of a study, oldest first."""
        return [event.kind for event in self.readings.history(study)]


def at_once(*actions: Callable[[], object]) -> list[object]:
    """What the actions return when threads begin them at the same moment; None for one that the database refuses."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        barrier.wait()
        with suppress(IntegrityError):
            return action()
        return None

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))
