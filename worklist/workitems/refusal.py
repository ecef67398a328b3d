"""How a request about a workitem is refused: by a status code of PS3.4 Annex CC or PS3.7 Annex C."""

from __future__ import annotations

from enum import StrEnum

from worklist.errors import PermanentError
from worklist.procedure_step import Status


class Refusal(StrEnum):
    """Status codes beside those of the state table (procedure_step.py)."""

    INVALID_VALUE = "0106"
    MISSING_ATTRIBUTE = "0120"
    FINAL_STATE_UNMET = "C304"
    PERFORMER_WILL_NOT = "C313"
    GONE = "gone"  # of HTTP alone: it was there, and no longer is


class WorkitemRefused(PermanentError):
    """A request that was refused; nothing has changed.

    Args:
        status: why, as a code.
        message: what is wrong and what to do, in one line.
        is_missing: with a wrong Transaction UID, whether there is none at all.
    """

    def __init__(self, status: Status | Refusal, message: str, *, is_missing: bool = False) -> None:
        super().__init__("workitem_refused", message)
        self.status = status
        self.is_missing = is_missing
