"""How a study is named from outside: by its Study Instance UID, or by Orthanc's identifier of it.

A Study Instance UID that two patients bear is that of two studies, and names neither: there the identifier must.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.orm import Session

from worklist.errors import Conflict
from worklist.records.among import Texts, among
from worklist.records.events import StudyName
from worklist.records.tables import PRESENT, StudyRow

SHARED_UID: Final = "shared_uid"
_UIDS: Final = bindparam("uids", type_=Texts())
# Built once: building it takes longer than running it.
_SHARED: Final = (
    select(StudyRow.study_instance_uid)
    .where(among(StudyRow.study_instance_uid, _UIDS), PRESENT)
    .group_by(StudyRow.study_instance_uid)
    .having(func.count() > 1)
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


def shared_uids(session: Session, study_instance_uids: Sequence[str]) -> set[str]:
    """Which of some Study Instance UIDs several patients in the PACS bear."""
    return set(session.scalars(_SHARED, {"uids": study_instance_uids})) if study_instance_uids else set()


def others_of(session: Session, row: StudyRow) -> list[StudyName]:
    """The studies of other patients in the PACS with the same Study Instance UID."""
    uid = row.study_instance_uid
    others = session.scalars(
        select(StudyRow.orthanc_id).where(
            StudyRow.study_instance_uid == uid, PRESENT, StudyRow.orthanc_id != row.orthanc_id
        )
    )
    return [StudyName(orthanc_id=other, study_instance_uid=uid) for other in others]
