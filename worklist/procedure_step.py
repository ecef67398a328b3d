"""The states of a Unified Procedure Step and how they follow from each other (PS3.4 section CC.1.1), as data."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ProcedureStepState(StrEnum):
    """Procedure Step State (0074,1000), PS3.4 Table CC.1.1-1."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class ProcedureStepEvent(StrEnum):
    """The rows of PS3.4 Table CC.1.1-2; 'owned' is with the correct Transaction UID, 'foreign' without it."""

    CREATE = "create"
    START_OWNED = "start, owned"
    START_FOREIGN = "start, foreign"
    SCHEDULE = "schedule"
    COMPLETE_OWNED = "complete, owned"
    COMPLETE_FOREIGN = "complete, foreign"
    REQUEST_CANCEL = "request cancel"
    CANCEL_OWNED = "cancel, owned"
    CANCEL_FOREIGN = "cancel, foreign"


class Status(StrEnum):
    """Status codes of PS3.4 Annex CC for what changes nothing: B is a warning, the others refuse."""

    DUPLICATE_INSTANCE = "0111"
    ALREADY_CANCELED = "B304"
    ALREADY_COMPLETED_WARNING = "B306"
    NO_LONGER_UPDATED = "C300"
    WRONG_TRANSACTION_UID = "C301"
    ALREADY_IN_PROGRESS = "C302"
    ONLY_BY_CREATION = "C303"
    UNKNOWN_INSTANCE = "C307"
    NOT_YET_IN_PROGRESS = "C310"
    ALREADY_COMPLETED = "C311"


_E, _S = ProcedureStepEvent, Status
_COLUMNS: Final = (
    None,
    ProcedureStepState.SCHEDULED,
    ProcedureStepState.IN_PROGRESS,
    ProcedureStepState.COMPLETED,
    ProcedureStepState.CANCELED,
)
_TO_SCHEDULED, _TO_IN_PROGRESS, _TO_COMPLETED, _TO_CANCELED = _COLUMNS[1:]
_DUPLICATE, _UNKNOWN = _S.DUPLICATE_INSTANCE, _S.UNKNOWN_INSTANCE
_FOREIGN = (_UNKNOWN, *(_S.WRONG_TRANSACTION_UID,) * 4)
_FINAL = _S.NO_LONGER_UPDATED

# For each event: what it leads to where there is no such step yet, and in each of the four states. Completion and
# cancellation also need the final state requirements of Table CC.2.5-3; a requested cancellation of a step that
# somebody performs is only passed on to its performer.
_ROWS: Final[dict[ProcedureStepEvent, tuple[ProcedureStepState | Status, ...]]] = {
    _E.CREATE: (_TO_SCHEDULED, _DUPLICATE, _DUPLICATE, _DUPLICATE, _DUPLICATE),
    _E.START_OWNED: (_UNKNOWN, _TO_IN_PROGRESS, _S.ALREADY_IN_PROGRESS, _FINAL, _FINAL),
    _E.START_FOREIGN: _FOREIGN,
    _E.SCHEDULE: (_UNKNOWN, *(_S.ONLY_BY_CREATION,) * 4),
    _E.COMPLETE_OWNED: (_UNKNOWN, _S.NOT_YET_IN_PROGRESS, _TO_COMPLETED, _S.ALREADY_COMPLETED_WARNING, _FINAL),
    _E.COMPLETE_FOREIGN: _FOREIGN,
    _E.REQUEST_CANCEL: (_UNKNOWN, _TO_CANCELED, _TO_IN_PROGRESS, _S.ALREADY_COMPLETED, _S.ALREADY_CANCELED),
    _E.CANCEL_OWNED: (_UNKNOWN, _S.NOT_YET_IN_PROGRESS, _TO_CANCELED, _FINAL, _S.ALREADY_CANCELED),
    _E.CANCEL_FOREIGN: _FOREIGN,
}
STEP_TRANSITIONS: Final[dict[tuple[ProcedureStepState | None, ProcedureStepEvent], ProcedureStepState | Status]] = {
    (state, event): outcome
    for event, outcomes in _ROWS.items()
    for state, outcome in zip(_COLUMNS, outcomes, strict=True)
}
"""Every pair of state (None before the step exists) and event, with the state that follows or the status code."""
