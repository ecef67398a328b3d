"""A patient's other studies, as far as the PACS holds them: a hint on each line of the list, and a list of their own.

The same patient means here: the same Patient ID (0010,0020), character for character, and not an empty one. That is
what the PACS itself goes by. An ID of another hospital's numbering, or a placeholder that many people share, can
join strangers and part one person's studies, so this is a hint of what to open and never a statement about the
patient; the reader sees name, date and sex of what is opened. Name and birth date are not compared: both are spelled
in too many ways, and a hint that is missing costs more than one that is looked at in vain.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import and_, func, literal, literal_column, select
from sqlalchemy.orm import Session, aliased

from worklist.reading import Reading
from worklist.records.tables import StudyRow
from worklist.triage import Urgency

_MOST_COUNTED: Final = 1000  # a placeholder for a Patient ID may have a hundred thousand studies
_OTHER = aliased(StudyRow, name="other")
NEWEST: Final = aliased(StudyRow, name="newest")
_IS_PRIOR: Final = and_(
    StudyRow.patient_id != literal_column("''"),
    _OTHER.patient_id == StudyRow.patient_id,
    _OTHER.withdrawn_at.is_(None),
    _OTHER.study_date != literal_column("''"),
    _OTHER.study_date <= StudyRow.study_date,
    _OTHER.orthanc_id != StudyRow.orthanc_id,
)
_NEWEST_FIRST: Final = (_OTHER.study_date.desc(), _OTHER.received_at.desc(), _OTHER.study_instance_uid.desc())
# The newest prior of a study, and how many there are, counted to 1000: correlated with StudyRow.
NEWEST_ID: Final = (
    select(_OTHER.orthanc_id).where(_IS_PRIOR).order_by(*_NEWEST_FIRST).limit(1).correlate(StudyRow).scalar_subquery()
)
_SOME: Final = select(literal(1)).select_from(_OTHER).where(_IS_PRIOR).limit(_MOST_COUNTED).correlate(StudyRow)
PRIOR_COUNT: Final = select(func.count()).select_from(_SOME.subquery()).scalar_subquery()


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorStudy:
    """An earlier study of the same patient; study_date is Study Date (0008,0020), YYYYMMDD."""

    study_instance_uid: str
    study_date: str
    study_description: str
    modality: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorLine(PriorStudy):
    """The same with what is known of it: when it was taken and came, whether it was flagged, and who read it."""

    acquired_at: datetime | None
    received_at: datetime
    urgency: Urgency | None
    reading: Reading


def prior_lines(session: Session, orthanc_id: str, limit: int) -> list[PriorLine]:
    """The priors of a study, newest first."""
    rows = session.scalars(
        select(_OTHER)
        .join(StudyRow, StudyRow.orthanc_id == orthanc_id)
        .where(_IS_PRIOR)
        .order_by(*_NEWEST_FIRST)
        .limit(limit)
    )
    return [
        PriorLine(
            study_instance_uid=row.study_instance_uid,
            study_date=row.study_date,
            study_description=row.study_description,
            modality=row.modality,
            acquired_at=row.acquired_at,
            received_at=row.received_at,
            urgency=row.urgency,
            reading=row.reading,
        )
        for row in rows
    ]
