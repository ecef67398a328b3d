"""The tables. Migrations follow them; a test holds both together."""

from __future__ import annotations

import enum
from datetime import UTC, datetime

from pydantic import TypeAdapter
from sqlalchemy import (
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worklist.finding import Analysis
from worklist.order import OrderPriority
from worklist.study import JobPath, JobState, StudyState
from worklist.urgency import Urgency

_ANALYSIS = TypeAdapter(Analysis)


def _values(words: type[enum.Enum]) -> list[str]:
    return [str(word.value) for word in words]


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a naive time is refused, because nobody can say what it means."""
        del dialect
        if value is not None and value.utcoffset() is None:
            raise ValueError(f"a moment needs a time zone, got {value}")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class AnalysisJson(TypeDecorator[Analysis]):
    """An Analysis as JSON text; every float survives exactly."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Analysis | None, dialect: Dialect) -> str | None:
        """To JSON."""
        del dialect
        return None if value is None else _ANALYSIS.dump_json(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Analysis | None:
        """From JSON."""
        del dialect
        return None if value is None else _ANALYSIS.validate_json(value)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can speak of them on both databases."""

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
        str: Text,
        Analysis: AnalysisJson,
        enum.Enum: Enum(enum.Enum, native_enum=False, length=16, values_callable=_values),
    }


class FeedRow(Base):
    """How far a change feed has been read; the marks tell whether the feed is still the same one."""

    __tablename__ = "feeds"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    sequence: Mapped[int]
    marks: Mapped[str]
    read_at: Mapped[datetime]


class StudyRow(Base):
    """One study of the reading list."""

    __tablename__ = "studies"

    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    orthanc_id: Mapped[str] = mapped_column(index=True)
    patient_id: Mapped[str]
    patient_name: Mapped[str]
    accession_number: Mapped[str]
    study_description: Mapped[str]
    modality: Mapped[str]
    received_at: Mapped[datetime]
    last_image_at: Mapped[datetime]
    order_priority: Mapped[OrderPriority]
    stat_rank: Mapped[int]  # 0 for STAT, 1 otherwise: the first part of the order, kept sortable
    queue_at: Mapped[datetime]
    state: Mapped[StudyState]
    score: Mapped[float | None]
    urgency: Mapped[Urgency | None]
    reason: Mapped[str]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    revision: Mapped[int]
    reported_revision: Mapped[int | None]
    analysis: Mapped[Analysis | None]
    checked_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (Index("ix_studies_reading_order", "stat_rank", "queue_at", "received_at", "study_instance_uid"),)


class InstanceRow(Base):
    """One SOP Instance of a study; digest is Orthanc's MD5 of its file, which tells new pixels under an old UID."""

    __tablename__ = "instances"

    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"), primary_key=True)
    series_instance_uid: Mapped[str]
    digest: Mapped[str]
    scope_code: Mapped[str | None]
    scope_message: Mapped[str | None]
    analysis: Mapped[Analysis | None]

    __table_args__ = (Index("ix_instances_study", "study_instance_uid"),)


class JobRow(Base):
    """One piece of work: a film to score, or a revision of a study to report."""

    __tablename__ = "jobs"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"), index=True)
    path: Mapped[JobPath]
    revision: Mapped[int]
    sop_instance_uid: Mapped[str]
    digest: Mapped[str]
    state: Mapped[JobState] = mapped_column(index=True)
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
        UniqueConstraint("study_instance_uid", "path", "revision", "sop_instance_uid", "digest", name="uq_jobs_work"),
    )


class PredictionRow(Base):
    """One upload to POST /predict: the image until it is judged, the result until it expires."""

    __tablename__ = "predictions"

    prediction_id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    taken_at: Mapped[datetime | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    is_permanent: Mapped[bool | None]
    prior_report: Mapped[str | None]
    result: Mapped[str | None]
    upload: Mapped[bytes | None]  # last, so that no other column lies behind it on the disk


class PredictionPictureRow(Base):
    """A picture of a prediction as PNG; position counts crops from 1 and is 0 for the whole film."""

    __tablename__ = "prediction_pictures"

    prediction_id: Mapped[str] = mapped_column(
        ForeignKey("predictions.prediction_id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    png: Mapped[bytes]


class ResultRow(Base):
    """One object that Firstread wrote into the PACS; position counts crops from 1 and is 0 for everything else."""

    __tablename__ = "results"

    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"))
    series_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    revision: Mapped[int]
    position: Mapped[int]

    __table_args__ = (Index("ix_results_study", "study_instance_uid", "revision"),)
