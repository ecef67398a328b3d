"""Status codes of PS3.4 Annex CC as those of HTTP, with the warnings of PS3.18 section 11, as data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from fastapi.responses import Response

from gateway.dicomweb.guards import GUARDS
from gateway.problems import problem
from worklist.procedure_step import Status
from worklist.workitems.refusal import Refusal, WorkitemRefused


class Transaction(StrEnum):
    """The transactions whose refusals differ; `other` is every other one."""

    CREATE = "create"
    UPDATE = "update"
    STATE = "change state"
    CANCEL = "request cancellation"
    OTHER = "other"


CREATED_CHANGED: Final = "The Workitem was created with modifications."
UPDATED_CHANGED: Final = "The Workitem was updated with modifications."
READ_AGAIN: Final = "A film came after the claim: the study is to be read again, as Workitem {}."
_ALREADY: Final = {
    Status.ALREADY_CANCELED: "The UPS is already in the requested state of CANCELED.",
    Status.ALREADY_COMPLETED_WARNING: "The UPS is already in the requested state of COMPLETED.",
}
_UNCLAIMED: Final = "The target URI did not reference a claimed Workitem."
_INCONSISTENT_UPDATE: Final = "The submitted request is inconsistent with the current state of the Workitem."
_INCONSISTENT_STATE: Final = "The submitted request is inconsistent with the state of the UPS Instance."
_MISSING: Final = "The Transaction UID is missing."
_INCORRECT: Final = "The Transaction UID is incorrect."

_ANYWHERE: Final[dict[Status | Refusal, tuple[HTTPStatus, str]]] = {
    Status.DUPLICATE_INSTANCE: (HTTPStatus.CONFLICT, ""),
    Status.UNKNOWN_INSTANCE: (HTTPStatus.NOT_FOUND, ""),
    Refusal.GONE: (HTTPStatus.GONE, ""),
    Refusal.INVALID_VALUE: (HTTPStatus.BAD_REQUEST, ""),
    Refusal.MISSING_ATTRIBUTE: (HTTPStatus.BAD_REQUEST, ""),
}
_BY_TRANSACTION: Final[Mapping[Transaction, dict[Status | Refusal, tuple[HTTPStatus, str]]]] = {
    Transaction.UPDATE: {
        Status.NO_LONGER_UPDATED: (HTTPStatus.BAD_REQUEST, _INCONSISTENT_UPDATE),
        Status.WRONG_TRANSACTION_UID: (HTTPStatus.BAD_REQUEST, _INCONSISTENT_UPDATE),
        Status.NOT_YET_IN_PROGRESS: (HTTPStatus.CONFLICT, _UNCLAIMED),
    },
    Transaction.STATE: {
        Status.WRONG_TRANSACTION_UID: (HTTPStatus.BAD_REQUEST, _INCORRECT),
        Status.NO_LONGER_UPDATED: (HTTPStatus.CONFLICT, _INCONSISTENT_STATE),
        Status.ALREADY_IN_PROGRESS: (HTTPStatus.CONFLICT, _INCONSISTENT_STATE),
        Status.ONLY_BY_CREATION: (HTTPStatus.CONFLICT, _INCONSISTENT_STATE),
        Status.NOT_YET_IN_PROGRESS: (HTTPStatus.CONFLICT, _INCONSISTENT_STATE),
        Refusal.FINAL_STATE_UNMET: (HTTPStatus.CONFLICT, _INCONSISTENT_STATE),
    },
    Transaction.CANCEL: {
        Status.ALREADY_COMPLETED: (HTTPStatus.CONFLICT, "The UPS is already COMPLETED."),
        Refusal.PERFORMER_WILL_NOT: (HTTPStatus.CONFLICT, "Performer chooses not to cancel."),
    },
}


def refusal(error: WorkitemRefused, transaction: Transaction, service: str) -> Response:
    """The problem document of a refusal, with the standard's warning where it has one.

    Args:
        error: what was refused.
        transaction: by which it was asked for.
        service: root of the service, as the caller names it.
    """
    known = _ANYWHERE | _BY_TRANSACTION.get(transaction, {})
    status, text = known.get(error.status, (HTTPStatus.CONFLICT, ""))
    if error.is_missing and text == _INCORRECT:
        text = _MISSING
    answer = problem(status, status.phrase.lower(), error.message, code=error.code, ups_status=str(error.status))
    answer.headers.update(GUARDS)
    if text:
        answer.headers["Warning"] = f"299 {service}: {text}"
    return answer


def success(status: HTTPStatus, service: str, *warnings: str, **headers: str) -> Response:
    """An answer without a body."""
    answer = Response(status_code=status, headers={**GUARDS, **headers})
    for text in warnings:
        answer.headers.append("Warning", f"299 {service}: {text}")
    return answer


def warning_of(status: Status | None) -> tuple[str, ...]:
    """The warning where a workitem was in the wanted state already."""
    return (_ALREADY[status],) if status else ()
