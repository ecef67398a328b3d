"""A reading list in a real database, filled by the calls that intake and workers make, and as long as a test likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Table, insert, select

import migrations
from worklist.account import Account
from worklist.card import FindingCard, Precision, ScorerCard
from worklist.comparison import PriorComparison
from worklist.errors import UnusableImage
from worklist.finding import (
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Side,
    Snippet,
)
from worklist.job import JobLimits, Queue
from worklist.order import OrderPriority
from worklist.reading import Actor, ActorSource
from worklist.records import (
    Database,
    EventKind,
    IntakeRecords,
    JobRecords,
    ReadingRecords,
    ReceivedInstance,
    StoredResult,
    Worklist,
)
from worklist.records.events import record
from worklist.records.tables import AnalysisRow, Base, InstanceRow, JobRow, ReportRow, ResultRow, StudyRow
from worklist.site import SiteRules
from worklist.study import Failure
from worklist.triage import TriagePolicy

SCORER = Algorithm(name="embedded", version="1", sha256="5f0c4f1f" * 8, device_uid="2.25.1")
TEMPLATE = Algorithm(name="template", version="1", sha256="0" * 64, device_uid="2.25.2")
LATERAL = Failure(code="lateral_view", message="a lateral view: only frontal films are judged")
TRUNCATED = UnusableImage(
    "truncated_pixels", "the pixel data ends after 1.2 of 7.2 MB: send the study again, then run firstread retry"
)
_KNOWN = Precision(value=0.74, n=19)
_CARDS = (
    FindingCard(
        type=FindingType.PNEUMOTHORAX,
        weight=1.0,
        named_from=0.6,
        precision=_KNOWN,
        critical_from=0.8,
        critical_precision=_KNOWN,
    ),
    FindingCard(type=FindingType.PLEURAL_EFFUSION, weight=0.9, named_from=0.5, precision=_KNOWN),
    FindingCard(type=FindingType.CONSOLIDATION, weight=0.9, named_from=0.5, precision=Precision(value=0.55, n=20)),
    FindingCard(type=FindingType.CARDIOMEGALY, weight=0.3, named_from=0.5, precision=_KNOWN),
    FindingCard(type=FindingType.PNEUMONIA, weight=0.9, is_shown=False),
    FindingCard(type=FindingType.PULMONARY_EDEMA, weight=0.9),
)
CARD = ScorerCard(
    name=SCORER.name,
    version=SCORER.version,
    sha256=SCORER.sha256,
    findings=_CARDS,
    not_looked_for=("masses", "nodules", "free air", "fractures", "lines and tubes"),
    flag_from=0.4,
    reference="265 films",
    reference_harms=(0.0, 0.05, 0.1, 0.2, 0.35),
)
NOBODY = Actor(name="Nobody", source=ActorSource.TYPED)


@dataclass
class FilledList:
    """All sides of the records of one database.

    Studies are known by their number: of their identifiers, and of their place in time where nothing else is said.
    """

    database: Database
    rules: SiteRules = field(default_factory=SiteRules)
    orthanc_id: Callable[..., str] = "orthanc-{}".format

    def __post_init__(self) -> None:
        """Put the policy of the tests' scorer into force."""
        self.intake = IntakeRecords(self.database, self.rules)
        self.jobs = JobRecords(self.database, self.rules, JobLimits())
        self.readings = ReadingRecords(database=self.database, rules=self.rules)
        self.worklist = Worklist(self.database, self.rules)
        self.jobs.adopt_policy(TriagePolicy.of(CARD, self.rules.triage))

    def add(  # noqa: PLR0913 - what sets one study apart from another
        self,
        number: int,
        name: str = "Doe^Jane",
        *,
        minutes: float = 0.0,
        findings: Mapping[FindingType, float] | None = None,
        crops: int = 0,
        is_reported: bool = True,
        refused: Failure | None = None,
        failed: bool = False,
        days_old: int = 0,
        analyzed: Callable[[Analysis], Analysis] = lambda analysis: analysis,
        uid: str = "",
        **more: Any,  # noqa: ANN401 - fields of ReceivedInstance
    ) -> str:
        """Receive a study, and have it scored and reported.

        Args:
            number: makes its identifiers.
            name: Patient's Name.
            minutes: how long ago it arrived, and 20 s.
            findings: probabilities; None where it is not scored.
            crops: how many there are in the PACS.
            is_reported: whether its report is written, where it is scored.
            refused: why it is out of scope.
            failed: whether its image cannot be scored.
            days_old: how long ago it was acquired: an old one is taken for a prior.
            analyzed: changes what the scorer says.
            uid: Study Instance UID, instead of the one made from the number.
            more: fields of ReceivedInstance that differ from an ordinary image's.

        Returns:
            The Study Instance UID.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        uid = uid or uid_of(number)
        values: dict[str, Any] = {
            "orthanc_id": self.orthanc_id(uid),
            "instance_orthanc_id": self.orthanc_id(uid, f"{uid}.1", f"{uid}.1.1"),
            "study_instance_uid": uid,
            "series_instance_uid": f"{uid}.1",
            "sop_instance_uid": f"{uid}.1.1",
            "digest": "a",
            "received_at": now - timedelta(minutes=minutes, seconds=20),
            "patient_id": f"MRN-{48210 + 37 * number}",
            "patient_name": name,
            "patient_sex": "F",
            "patient_age": "071Y",
            "accession_number": f"A{260_000 + number}",
            "study_description": "XR CHEST PA",
            "modality": "DX",
            "order_priority": OrderPriority.ROUTINE,
            "scope_failure": refused,
            "study_date": f"{now - timedelta(days=days_old, minutes=minutes):%Y%m%d}",
        }
        self.intake.ingest([ReceivedInstance(**(values | more))], [])
        if findings is not None:
            self.score(uid, findings, crops=crops, is_reported=is_reported, analyzed=analyzed)
        elif failed:
            self.fail(uid)
        return uid

    def fail(self, uid: str) -> None:
        """Have a study's image, which waits for it, fail to be scored."""
        self.jobs.give_up(self._claim(uid, Queue.SCORE), "w", TRUNCATED)

    def score(
        self,
        uid: str,
        findings: Mapping[FindingType, float],
        *,
        crops: int = 0,
        is_reported: bool = True,
        analyzed: Callable[[Analysis], Analysis] = lambda analysis: analysis,
    ) -> None:
        """Have a study scored that waits for it, and reported."""
        analysis = analyzed(analysis_of(uid, findings))
        assert self.jobs.complete_score(self._claim(uid, Queue.SCORE), "w", analysis)
        if is_reported:
            self.report(uid, crops=crops, explanation=analysis.explanation)

    def report(  # noqa: PLR0913 - what sets one report apart from another
        self,
        uid: str,
        *,
        crops: int = 0,
        explanation: str = "",
        account: Account | None = None,
        prior: PriorComparison | None = None,
        snippets: tuple[Snippet, ...] = (),
    ) -> None:
        """Have a study's report written, as it is once the study is complete."""
        self.intake.ingest([], [self.orthanc_id(uid)])
        job_id = self._due(uid, Queue.REPORT)
        job = self.jobs.claim(job_id, "w")
        assert job
        subject = self.jobs.report_subject(job)
        assert subject.analysis
        explained = subject.analysis.explained(
            explanation, explainer=TEMPLATE, prompt_version="1", account=account, snippets=snippets
        )
        explained = replace(explained, prior=prior)
        self.jobs.keep_report(job_id, "w", subject, explained)
        results = [
            StoredResult(
                sop_instance_uid=f"{uid}.{job.revision}.9.{place}",
                series_instance_uid=f"{uid}.{job.revision}.{9 if place else 8}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
                position=place,
            )
            for place in range(crops + 1)
        ]
        assert self.jobs.complete_report(job_id, "w", results)

    def new_image(self, uid: str, number: int = 2) -> None:
        """Receive another image of a study."""
        now = datetime.now(UTC).replace(microsecond=0)
        with self.database.read() as session:
            row = session.get(StudyRow, self.orthanc_id(uid))
            assert row
            values = {name: getattr(row, name) for name in ("patient_id", "patient_name", "accession_number")}
        self.intake.ingest(
            [
                ReceivedInstance(
                    orthanc_id=self.orthanc_id(uid),
                    instance_orthanc_id=self.orthanc_id(uid, f"{uid}.1", f"{uid}.1.{number}"),
                    study_instance_uid=uid,
                    series_instance_uid=f"{uid}.1",
                    sop_instance_uid=f"{uid}.1.{number}",
                    digest="b",
                    received_at=now,
                    study_description="XR CHEST PA",
                    modality="DX",
                    order_priority=OrderPriority.ROUTINE,
                    scope_failure=None,
                    **values,
                )
            ],
            [],
        )

    def claim(self, study: int | str, name: str) -> None:
        """Somebody begins to read a study, given by its number or its UID."""
        self.readings.claim(Actor(name=name, source=ActorSource.TYPED), _uid(study))

    def read(self, study: int | str, name: str) -> None:
        """Somebody has read a study."""
        self.readings.complete(Actor(name=name, source=ActorSource.TYPED), _uid(study))

    def put_back(self, study: int | str, name: str) -> None:
        """Somebody puts a study back, given by its number or its UID."""
        self.readings.put_back(Actor(name=name, source=ActorSource.TYPED), _uid(study))

    def change_model(self, uid: str, card: ScorerCard, findings: Mapping[FindingType, float]) -> None:
        """Bring another scorer's policy into force, and have a study scored by it that waits."""
        self.jobs.adopt_policy(TriagePolicy.of(card, self.rules.triage))
        scorer = replace(SCORER, name=card.name, version=card.version, sha256=card.sha256)
        self.score(uid, findings, is_reported=False, analyzed=lambda analysis: replace(analysis, scorer=scorer))

    def withdraw(self, uid: str) -> None:
        """Take a study out of the PACS."""
        self.intake.record_presence(self.orthanc_id(uid), is_present=False)

    def change(self, uid: str, *, quietly: bool = False, **columns: object) -> None:
        """Change a study's row as no use case does, and tell of it."""
        with self.database.write() as session:
            row = session.get(StudyRow, self.orthanc_id(uid))
            assert row
            for name, value in columns.items():
                setattr(row, name, value)
            if not quietly:
                record(session, EventKind.TRIAGED, row)

    def uids(self) -> list[str]:
        """What is to be read, in reading order."""
        return [study.study_instance_uid for study in self.worklist.page(limit=10_000)[1]]

    def _claim(self, uid: str, queue: Queue) -> str:
        job_id = self._due(uid, queue)
        assert self.jobs.claim(job_id, "w")
        return job_id

    def _due(self, uid: str, queue: Queue) -> str:
        with self.database.read() as session:
            wanted = select(JobRow.job_id).where(
                JobRow.study_orthanc_id == self.orthanc_id(uid), JobRow.queue == queue, JobRow.state == "SCHEDULED"
            )
            return session.scalars(wanted).one()


def uid_of(number: int) -> str:
    """The Study Instance UID of a number."""
    return f"1.2.826.0.1.3680043.8.498.{number:04d}"


def _uid(study: int | str) -> str:
    return uid_of(study) if isinstance(study, int) else study


def analysis_of(uid: str, findings: Mapping[FindingType, float]) -> Analysis:
    """What the tests' scorer says of a study's first image; the most probable finding lies in the right lung."""
    falling = sorted(findings.items(), key=lambda pair: -pair[1])
    score = falling[0][1] if falling else 0.0
    return Analysis(
        images=(
            ImageReference(
                study_instance_uid=uid,
                series_instance_uid=f"{uid}.1",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
                sop_instance_uid=f"{uid}.1.1",
                rows=2048,
                columns=2048,
            ),
        ),
        scorer=SCORER,
        findings=tuple(
            Finding(
                type=kind,
                probability=probability,
                threshold=0.45,
                side=Side.RIGHT if place == 0 and probability >= 0.5 else None,
            )
            for place, (kind, probability) in enumerate(falling)
        ),
        score=score,
        threshold=0.5,
        completed_at=datetime.now(UTC).replace(microsecond=0),
        elapsed_ms=21.5,
        quality=(QualityNote(code="rotated", message="The patient is slightly rotated."),) if score > 0.9 else (),
        explanation="The region that weighed most lies in the upper zone of the patient's right lung.",
    )


PNEUMOTHORAX = {FindingType.PNEUMOTHORAX: 0.93, FindingType.PLEURAL_EFFUSION: 0.37, FindingType.PNEUMONIA: 0.28}
EFFUSION = {FindingType.PLEURAL_EFFUSION: 0.71, FindingType.CARDIOMEGALY: 0.3, FindingType.PULMONARY_EDEMA: 0.2}
NOTHING = {FindingType.CARDIOMEGALY: 0.12, FindingType.PLEURAL_EFFUSION: 0.08, FindingType.PNEUMOTHORAX: 0.03}


def multiply(listed: FilledList, copies: int, *, minutes_apart: float = 1.0, is_read: bool = False) -> None:
    """Make a list long: copies of studies of every kind, each older than the one before.

    Args:
        listed: the list; gets studies 9001 to 9004 as the originals.
        copies: how many.
        minutes_apart: time between two of them.
        is_read: whether they have been read, and are no longer on the list.
    """
    first = 9001 + (4 if is_read else 0)
    originals = [
        listed.add(first, "Original^Critical", findings=PNEUMOTHORAX, crops=2),
        listed.add(first + 1, "Original^Urgent", findings=EFFUSION, crops=1),
        listed.add(first + 2, "Original^Plain", findings=NOTHING),
        listed.add(first + 3, "Original^Lateral", refused=LATERAL),
    ]
    if is_read:
        for uid in originals:
            listed.readings.complete(NOBODY, uid)
    tables: list[Table] = [
        Base.metadata.tables[row.__tablename__] for row in (StudyRow, InstanceRow, AnalysisRow, ReportRow, ResultRow)
    ]
    with listed.database.write() as session:
        for table in tables:
            rows = [
                [
                    dict(row)
                    for row in session.execute(select(table).where(_key(table) == listed.orthanc_id(uid))).mappings()
                ]
                for uid in originals
            ]
            copied = [
                _copy(
                    row, originals[number % 10 % 4], number, timedelta(minutes=number * minutes_apart), is_read=is_read
                )
                for number in range(copies)
                for row in rows[number % 10 % 4]
            ]
            for start in range(0, len(copied), 500):
                session.execute(insert(table), copied[start : start + 500])


def _key(table: Table) -> Column[str]:
    return table.c.orthanc_id if table.name == StudyRow.__tablename__ else table.c.study_orthanc_id


def _copy(row: dict[str, Any], original: str, number: int, age: timedelta, *, is_read: bool) -> dict[str, Any]:
    new = f"1.2.826.0.1.3680043.9.{int(is_read)}.{number}"
    copy = {name: value.replace(original, new) if isinstance(value, str) else value for name, value in row.items()}
    if "patient_name" in row:
        copy |= {
            "patient_name": f"Copy^{number}",
            "patient_id": f"C{number}",
            "received_at": row["received_at"] - age,
            "queue_at": row["queue_at"] - age,
        }
    return copy


@contextmanager
def filled_list(folder: Path, rules: SiteRules | None = None) -> Iterator[FilledList]:
    """An empty list in a new SQLite database."""
    with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
        migrations.upgrade(database)
        yield FilledList(database, rules or SiteRules())
