"""How a study is named from outside: by its Study Instance UID, or by Orthanc's identifier of it.

A Study Instance UID that two patients bear is that of two studies, and names neither: there the identifier must.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session, aliased

from worklist.errors import Conflict
from worklist.records.events import StudyName
from worklist.records.tables import PRESENT, StudyRow

SHARED_UID: Final = "shared_uid"
_OTHER = aliased(StudyRow, name="bearer")
# Whether another patient in the PACS bears the Study Instance UID of a study: correlated with StudyRow.
IS_SHARED: Final = exists().where(
    _OTHER.study_instance_uid == StudyRow.study_instance_uid,
    _OTHER.orthanc_id != StudyRow.orthanc_id,
    _OTHER.withdrawn_at.is_(None),
)


def study_at(session: Session, address: str, *, is_present: bool = True) -> str | None:
    """Orthanc's identifier of the study that an address names; no row is loaded, so that it can still be locked.

    Args:
        session: of the transaction.
        address: a Study Instance UID or an identifier of Orthanc's.
        is_present: of what lies in the PACS alone; else also of what left it, where nothing there has this address.

    Raises:
        Conflict: shared_uid, it is the Study Instance UID of several patients.
    """
    is_meant = or_(StudyRow.study_instance_uid == address, StudyRow.orthanc_id == address)
    rows = session.execute(
        select(StudyRow.orthanc_id, StudyRow.withdrawn_at).where(is_meant).order_by(StudyRow.orthanc_id)
    ).all()
    present = [row.orthanc_id for row in rows if row.withdrawn_at is None]
    named = present if present or is_present else [row.orthanc_id for row in rows]
    if len(named) > 1:
        raise Conflict(
            SHARED_UID,
            f"{len(named)} patients share Study Instance UID {address}: name one study, as {' or '.join(named)}",
        )
    return named[0] if named else None


def others_of(session: Session, row: StudyRow) -> list[StudyName]:
    """The studies of other patients in the PACS with the same Study Instance UID."""
    uid = row.study_instance_uid
    others = session.scalars(
        select(StudyRow.orthanc_id).where(
            StudyRow.study_instance_uid == uid, PRESENT, StudyRow.orthanc_id != row.orthanc_id
        )
    )
    return [StudyName(orthanc_id=other, study_instance_uid=uid) for other in others]
