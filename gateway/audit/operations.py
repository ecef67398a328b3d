"""What a DICOM operation leaves in the audit trail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pynetdicom.dsutils import decode

from gateway.dimse.operations import Operation
from gateway.dimse.statuses import CANCELLED, FIND, NOT_PERMITTED, SOME_FAILED, SUCCESS
from worklist.audit import WORKITEM, AuditEntry, AuditKind, Outcome
from worklist.reading import Actor

_DONE: Final = {SUCCESS.code, CANCELLED.code, SOME_FAILED.code}
_LONGEST_UID: Final = 64
_FIRST_FAILURE, _WARNINGS = 0x0100, range(0xB000, 0xC000)  # PS3.7 Annex C


def entry_of(operation: Operation, actor: Actor) -> AuditEntry:
    """A query, or the export of images to the peer or elsewhere.

    A refusal where its role does not permit it, and where nothing is sent to somebody who sees some sites alone: of
    another site, or of none, which they are not told.
    """
    code = operation.last.code
    kind = AuditKind.QUERY if operation.name == FIND else AuditKind.EXPORT
    is_elsewhere = kind is AuditKind.EXPORT and actor.sight is not None and not operation.sent
    is_refused = code == NOT_PERMITTED.code or is_elsewhere
    return AuditEntry(
        at=datetime.now(UTC),
        kind=AuditKind.REFUSED if is_refused else kind,
        outcome=Outcome.SUCCESS if code in _DONE and not is_refused else Outcome.MINOR_FAILURE,
        actor=actor.name,
        actor_source=actor.source,
        address=actor.address,
        study_instance_uid=_study(operation),
        detail={
            "service": operation.name,
            "of": operation.sop_class.name,
            "status": f"{code:04X}",
            "answers": operation.answers,
        },
    )


def entry_of_workitem(  # noqa: PLR0913 - what a request is made of
    actor: Actor, *, service: str, status: int, workitem_uid: str, is_change: bool, action: str = "", state: str = ""
) -> AuditEntry | None:
    """What a request about a workitem leaves, as by UPS-RS: nothing where it failed but for want of a role.

    Args:
        actor: who asked.
        service: N-CREATE, N-GET, N-SET or N-ACTION.
        status: of the answer.
        workitem_uid: empty where none is named.
        is_change: whether it changes the workitem.
        action: which N-ACTION.
        state: into which the workitem was to be brought.
    """
    is_refused = status == NOT_PERMITTED.code
    if not is_refused and status >= _FIRST_FAILURE and status not in _WARNINGS:
        return None
    kind = AuditKind.CHANGE if is_change else AuditKind.QUERY
    said = {"action": action, "state": state, WORKITEM: workitem_uid}
    return AuditEntry(
        at=datetime.now(UTC),
        kind=AuditKind.REFUSED if is_refused else kind,
        outcome=Outcome.MINOR_FAILURE if is_refused else Outcome.SUCCESS,
        actor=actor.name,
        actor_source=actor.source,
        address=actor.address,
        detail={"service": service, "status": f"{status:04X}", **{name: text for name, text in said.items() if text}},
    )


def _study(operation: Operation) -> str:
    """The study that a retrieval names; empty for a query, and where several are named."""
    if operation.name == FIND or operation.identifier is None:
        return ""
    operation.identifier.seek(0)
    try:
        named = decode(operation.identifier, operation.is_implicit, True).get("StudyInstanceUID", "")  # noqa: FBT003
    except Exception:  # noqa: BLE001 - whatever the library makes of what a peer sent
        return ""
    return named if isinstance(named, str) and len(named) <= _LONGEST_UID else ""
