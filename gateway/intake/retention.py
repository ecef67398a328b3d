"""The step of the intake in which what is read and old leaves the database."""

from __future__ import annotations

import structlog

from worklist.records import Lease, RetentionRecords
from worklist.records.retention import AT_ONCE, day_of

log = structlog.get_logger()


def remove_old(retention: RetentionRecords, lease: Lease) -> bool:
    """Remove some of what is due, and log how many and of which days; whether that was all.

    Raises:
        TransientError: lease_lost, another process has the feed by now.
    """
    removed = retention.remove(lease)
    if removed.studies:
        days = {"arrived_from": day_of(removed.earliest), "arrived_to": day_of(removed.latest)}
        log.info("removed from the database what is read and old", studies=removed.studies, **days)
    return removed.studies < AT_ONCE
