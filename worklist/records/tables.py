"""The tables. Migrations follow them; a test holds both together."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.procedure_step import ProcedureStepState
from worklist.reading import HowRead, Reading, ReadingState
from worklist.records.columns import UtcDateTime, Word
from worklist.study import StudyState
from worklist.triage import Urgency

_LISTED = text("reading_state NOT IN ('read', 'prior') AND withdrawn_at IS NULL")
_READ = text("reading_state = 'read' AND withdrawn_at IS NULL")
_PRIOR = text("reading_state = 'prior' AND withdrawn_at IS NULL")
_WITHDRAWN = text("withdrawn_at IS NOT NULL")
_CLAIMED = text("reading_until IS NOT NULL")
_PRESENT = text("withdrawn_at IS NULL")
_CHECKED = text("withdrawn_at IS NULL AND revision > 0")  # always so, and nothing else is counted by this index
_INCOMPLETE = text("incomplete_since IS NOT NULL")
_OPEN = text("state IN ('SCHEDULED', 'IN PROGRESS')")
_FAILED = text("state = 'CANCELED'")


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can speak of them on both databases.

    Text is compared byte by byte, so that the order is the same on each database and in every locale.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this attribute from the class
        datetime: UtcDateTime,
        str: Text().with_variant(Text(collation="C"), "postgresql"),
        OrderPriority: Word(OrderPriority),
        StudyState: Word(StudyState),
        Urgency: Word(Urgency),
        ReadingState: Word(ReadingState),
        HowRead: Word(HowRead),
        Queue: Word(Queue),
        ProcedureStepState: Word(ProcedureStepState),
    }


class FeedRow(Base):
    """How far a change feed has been read; marks holds changes, one a line, newest first, to know the feed by."""

    __tablename__ = "feeds"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    sequence: Mapped[int]
    marks: Mapped[str]
    read_at: Mapped[datetime]


class LeaseRow(Base):
    """Who holds something that one process at a time may hold, or that a worker lives; see leases.py."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    number: Mapped[int]  # rises with each new holder
    until: Mapped[datetime] = mapped_column("held_until")  # revision 0005 says until: it can hold nothing any more


class StudyRow(Base):
    """One study: who it is of, what the triage says of it, and who reads it.

    It is the study that Orthanc has, whose identifier is a hash of Patient ID and Study Instance UID: a UID that two
    patients bear, by a faulty modality or after a correction, is that of two studies.
    """

    __tablename__ = "studies"

    orthanc_id: Mapped[str] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    patient_id: Mapped[str]
    patient_name: Mapped[str]
    patient_sex: Mapped[str]
    patient_age: Mapped[str]
    accession_number: Mapped[str]
    study_description: Mapped[str]
    study_date: Mapped[str]
    modality: Mapped[str]
    ward: Mapped[str]
    institution: Mapped[str | None]  # as sight.py compares it; None where it was taken in by a version that kept none
    station: Mapped[str]
    view: Mapped[str]
    question: Mapped[str]
    acquired_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    order_priority: Mapped[OrderPriority]
    stat_rank: Mapped[int]  # 0 for STAT, 1 otherwise: the first part of the order, kept sortable
    queue_at: Mapped[datetime]
    is_past: Mapped[bool]  # its newest image was found by the look back: the work on it can wait
    state: Mapped[StudyState]
    score: Mapped[float | None]
    harm: Mapped[float | None]
    urgency: Mapped[Urgency | None]
    policy_digest: Mapped[str | None]
    reason: Mapped[str]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    revision: Mapped[int]
    reported_revision: Mapped[int | None]
    incomplete_since: Mapped[datetime | None]  # when its last image came, until its report is scheduled
    reading_state: Mapped[ReadingState]
    reading_number: Mapped[int]
    reader: Mapped[str]
    reading_since: Mapped[datetime]
    reading_until: Mapped[datetime | None]
    how_read: Mapped[HowRead | None]
    returned_for: Mapped[str]
    checked_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]

    @property
    def reading(self) -> Reading:
        """The human side; always a whole one, also where half of it was written by a later version."""
        state = self.reading_state
        return Reading(
            state=state,
            since=self.reading_since,
            reader=self.reader,
            lease_until=(self.reading_until or self.reading_since) if state is ReadingState.READING else None,
            how=(self.how_read or HowRead.MESSAGE) if state is ReadingState.READ else None,
            returned_for=self.returned_for,
            number=self.reading_number,
        )

    __table_args__ = (
        Index(
            "ix_studies_list",
            "stat_rank",
            "queue_at",
            "received_at",
            "study_instance_uid",
            "orthanc_id",
            sqlite_where=_LISTED,
            postgresql_where=_LISTED,
        ),
        Index(
            "ix_studies_arrival",
            "received_at",
            "study_instance_uid",
            "orthanc_id",
            sqlite_where=_LISTED,
            postgresql_where=_LISTED,
        ),
        Index(
            "ix_studies_priors",
            "received_at",
            "study_instance_uid",
            "orthanc_id",
            sqlite_where=_PRIOR,
            postgresql_where=_PRIOR,
        ),
        Index(
            "ix_studies_read",
            "reading_since",
            "study_instance_uid",
            "orthanc_id",
            sqlite_where=_READ,
            postgresql_where=_READ,
        ),
        Index("ix_studies_incomplete", "incomplete_since", sqlite_where=_INCOMPLETE, postgresql_where=_INCOMPLETE),
        Index("ix_studies_claimed", "reading_until", sqlite_where=_CLAIMED, postgresql_where=_CLAIMED),
        Index("ix_studies_withdrawn", "withdrawn_at", sqlite_where=_WITHDRAWN, postgresql_where=_WITHDRAWN),
        Index("ix_studies_checked", "checked_at", sqlite_where=_CHECKED, postgresql_where=_CHECKED),
        Index(
            "ix_studies_patient",
            "patient_id",
            "study_date",
            "received_at",
            "study_instance_uid",
            "orthanc_id",
            sqlite_where=_PRESENT,
            postgresql_where=_PRESENT,
        ),
    )


class InstanceRow(Base):
    """One SOP Instance of a study; digest is Orthanc's MD5 of its file, which tells new pixels under an old UID.

    orthanc_id is Orthanc's identifier of the instance; None where it was taken in by a version that kept none.
    """

    __tablename__ = "instances"

    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    study_orthanc_id: Mapped[str] = mapped_column(ForeignKey("studies.orthanc_id"), primary_key=True)
    orthanc_id: Mapped[str | None]
    series_instance_uid: Mapped[str]
    digest: Mapped[str]
    scope_code: Mapped[str | None]
    scope_message: Mapped[str | None]

    __table_args__ = (Index("ix_instances_study", "study_orthanc_id", "scope_code"),)


class AnalysisRow(Base):
    """What one scorer said of one image, by the digests of both; see documents.py."""

    __tablename__ = "analyses"

    study_orthanc_id: Mapped[str] = mapped_column(ForeignKey("studies.orthanc_id"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    scorer_sha256: Mapped[str] = mapped_column(primary_key=True)
    scored_at: Mapped[datetime]
    document: Mapped[str]


class ReportRow(Base):
    """A revision's report: what it says is kept before anything of it is stored in the PACS.

    reported_at is fixed, so that a report which is built twice is the same to the byte, and so is unscored, the number
    of images without Analysis; stored_at is when the PACS had it. A report of a failure has no document.
    """

    __tablename__ = "reports"

    study_orthanc_id: Mapped[str] = mapped_column(ForeignKey("studies.orthanc_id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[str | None]
    policy_digest: Mapped[str | None]
    unscored: Mapped[int]
    reported_at: Mapped[datetime]
    stored_at: Mapped[datetime | None]


class PolicyRow(Base):
    """A triage policy as JSON; the newest of a scorer is in force.

    budget_checked_at is when its alert budget was last set beside the site's own scores.
    """

    __tablename__ = "policies"

    policy_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(index=True)
    scorer_sha256: Mapped[str] = mapped_column(index=True)
    document: Mapped[str]
    in_force_from: Mapped[datetime]
    budget_checked_at: Mapped[datetime]


class CardRow(Base):
    """A scorer's card as its worker brought it, without any choice of the site's: what choices are laid over."""

    __tablename__ = "cards"

    scorer_sha256: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[str]
    kept_at: Mapped[datetime]


class ChoiceRow(Base):
    """What somebody chose at run time, never changed afterwards; the highest number holds, see choices.py.

    Number 0 is what held before the first choice.
    """

    __tablename__ = "choices"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str]
    actor_source: Mapped[str]
    why: Mapped[str]
    document: Mapped[str]


class EventRow(Base):
    """What happened, never changed afterwards; sequence rises in the order in which transactions were committed."""

    __tablename__ = "events"

    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    at: Mapped[datetime]
    study_orthanc_id: Mapped[str | None]
    study_instance_uid: Mapped[str | None]
    kind: Mapped[str]
    actor: Mapped[str]
    actor_source: Mapped[str]
    detail: Mapped[str]

    __table_args__ = (
        Index("ix_events_study", "study_orthanc_id", "sequence"),
        {"sqlite_autoincrement": True},  # so that no number comes twice
    )


class WorkitemRow(Base):
    """A workitem of another system, or what has been said by UPS of the workitem of a reading (workitems.py).

    Of a reading's workitem the state is the study's, so that there is none here, and the document holds only what was
    said besides. final_at is when another system's was completed or canceled.
    """

    __tablename__ = "workitems"

    workitem_uid: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[ProcedureStepState | None]
    transaction_uid: Mapped[str]
    document: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    final_at: Mapped[datetime | None] = mapped_column(index=True)


class SubscriptionRow(Base):
    """Whether an application hears of a workitem, of all, or of all that match a filter (subscriptions.py).

    The workitem's UID may be a well-known one. is_on is false where somebody who hears of all wants nothing of this
    one; suspended_at is from when on new workitems are no longer told of.
    """

    __tablename__ = "subscriptions"

    ae_title: Mapped[str] = mapped_column(primary_key=True)
    workitem_uid: Mapped[str] = mapped_column(primary_key=True, index=True)
    is_on: Mapped[bool]
    has_lock: Mapped[bool]
    filter: Mapped[str]
    created_at: Mapped[datetime]
    suspended_at: Mapped[datetime | None]


class SessionRow(Base):
    """Who is logged in with a browser; of what its cookie holds there is the digest alone (sessions.py)."""

    __tablename__ = "sessions"

    session_sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    roles: Mapped[str]  # with spaces between them
    sites: Mapped[str | None]  # the same; None where the login was by a version that knew of none
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)


class JobRow(Base):
    """One piece of work: an image to score, or a revision of a study to report."""

    __tablename__ = "jobs"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    study_orthanc_id: Mapped[str] = mapped_column(ForeignKey("studies.orthanc_id"), index=True)
    queue: Mapped[Queue]
    revision: Mapped[int]
    sop_instance_uid: Mapped[str]
    digest: Mapped[str]
    state: Mapped[ProcedureStepState]
    attempts: Mapped[int]
    enqueues: Mapped[int]
    enqueued_at: Mapped[datetime | None]
    not_before: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    holder: Mapped[str | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("study_orthanc_id", "queue", "revision", "sop_instance_uid", "digest", name="uq_jobs_work"),
        Index("ix_jobs_open", "queue", "not_before", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_jobs_failed", "finished_at", sqlite_where=_FAILED, postgresql_where=_FAILED),
    )


class PredictionRow(Base):
    """One upload to POST /predict and its result, until it expires; film and pictures are files."""

    __tablename__ = "predictions"

    prediction_id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    taken_at: Mapped[datetime | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    is_permanent: Mapped[bool | None]
    result: Mapped[str | None]


class AuditRow(Base):
    """Who did what with whom, only ever added to; digest binds a row to all before it (audit.py)."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime]
    kind: Mapped[str]
    outcome: Mapped[int]
    actor: Mapped[str]
    actor_source: Mapped[str]
    roles: Mapped[str]
    address: Mapped[str]
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    patient_id: Mapped[str] = mapped_column(index=True)
    detail: Mapped[str]
    digest: Mapped[str]


class ResultRow(Base):
    """One object that Firstread wrote into the PACS; position counts crops from 1 and is 0 for everything else."""

    __tablename__ = "results"

    study_orthanc_id: Mapped[str] = mapped_column(ForeignKey("studies.orthanc_id"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    series_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    revision: Mapped[int]
    position: Mapped[int]

    __table_args__ = (Index("ix_results_study", "study_orthanc_id", "revision"),)


# The conditions of the partial indexes above, with their values as literals: by these words, and not by parameters,
# both databases know that an index serves a query. What is neither read nor a prior is on the list, so that a state
# of which only a later version knows hides nothing.
ON_THE_LIST = and_(
    StudyRow.reading_state.not_in([literal_column("'read'"), literal_column("'prior'")]),
    StudyRow.withdrawn_at.is_(None),
)
PRIORS = and_(StudyRow.reading_state == literal_column("'prior'"), StudyRow.withdrawn_at.is_(None))
READ = and_(StudyRow.reading_state == literal_column("'read'"), StudyRow.withdrawn_at.is_(None))
PRESENT = StudyRow.withdrawn_at.is_(None)
WITHDRAWN = StudyRow.withdrawn_at.is_not(None)
CHECKED = and_(PRESENT, StudyRow.revision > literal_column("0"))
INCOMPLETE = StudyRow.incomplete_since.is_not(None)
OPEN = JobRow.state.in_([literal_column("'SCHEDULED'"), literal_column("'IN PROGRESS'")])
FAILED = JobRow.state == literal_column("'CANCELED'")
