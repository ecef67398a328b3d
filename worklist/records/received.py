"""An instance as the PACS tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from worklist.order import OrderPriority
from worklist.records.tables import InstanceRow
from worklist.study import Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedInstance:
    """One SOP Instance as the PACS tells of it; texts are "" where its header does not say.

    Attributes:
        orthanc_id: the study's ...
        instance_orthanc_id: ... and its own.
        study_date: Study Date (0008,0020), YYYYMMDD.
        ward: who asks for the study, or where the patient lies.
        institution: Institution Name (0008,0080), as sight.py compares it.
        station: Station Name (0008,1010) of the modality.
        view: View Position (0018,5101) in upper case, such as "PA".
        question: what the referrer asks, one line.
        is_past: whether it lay in the PACS before anybody looked, and was found by the look back.
    """

    orthanc_id: str
    instance_orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    digest: str
    received_at: datetime
    patient_id: str
    patient_name: str
    accession_number: str
    study_description: str
    modality: str
    order_priority: OrderPriority
    scope_failure: Failure | None
    patient_sex: str = ""
    patient_age: str = ""
    study_date: str = ""
    acquired_at: datetime | None = None
    ward: str = ""
    institution: str = ""
    station: str = ""
    view: str = ""
    question: str = ""
    is_past: bool = False


def instance_row(instance: ReceivedInstance) -> InstanceRow:
    """The row of an instance."""
    failure = instance.scope_failure
    return InstanceRow(
        sop_instance_uid=instance.sop_instance_uid,
        study_orthanc_id=instance.orthanc_id,
        orthanc_id=instance.instance_orthanc_id,
        series_instance_uid=instance.series_instance_uid,
        digest=instance.digest,
        scope_code=failure.code if failure else None,
        scope_message=failure.message if failure else None,
    )


def date_of(study_date: str) -> date | None:
    """Study Date (0008,0020) as a date; None where it is absent or unreadable."""
    try:
        return date.fromisoformat(study_date)
    except ValueError:
        return None
