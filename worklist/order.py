"""The reading order: one static key a study, raised by its triage, never lowered, and bounded.

queue_at = received_at - head_start

STAT orders come first, everything else by queue_at. The head start of a study without an AI flag is zero, and none is
longer than H: STAT aside, nobody is overtaken by a study that arrived more than H later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class OrderPriority(StrEnum):
    """Requested Procedure Priority (0040,1003): the order's own, never changed by Firstread."""

    STAT = "STAT"
    HIGH = "HIGH"
    ROUTINE = "ROUTINE"
    MEDIUM = "MEDIUM"
    LOW = "LOW"

    @classmethod
    def of(cls, value: str) -> OrderPriority:
        """The priority a requisition states; ROUTINE where it states none or an unknown word."""
        try:
            return cls(value.strip().upper())
        except ValueError:
            return cls.ROUTINE


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderKey:
    """What the order depends on, and nothing else."""

    order_priority: OrderPriority
    queue_at: datetime
    received_at: datetime
    study_instance_uid: str
    orthanc_id: str = ""

    @property
    def sort_key(self) -> tuple[bool, datetime, datetime, str, str]:
        """Smallest is read first; ties end at the Study Instance UID, or at Orthanc's identifier where two share it."""
        is_stat = self.order_priority is OrderPriority.STAT
        return (not is_stat, self.queue_at, self.received_at, self.study_instance_uid, self.orthanc_id)
